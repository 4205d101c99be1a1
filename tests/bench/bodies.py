"""The requests that tests/bench/load.c sends: in oslo's form, with slots for
what differs from call to call."""

import copy
import json
import pathlib

CORPUS = pathlib.Path(__file__).resolve().parents[1] / 'corpus' / 'envelope'

ID = '@' * 32
REPLY_QUEUE = '#' * 30

# A request of a conductor in production, whose guests have several ports.
INSTANCE_BYTES = 13000


class Request:
    """A body, and what its answer has as "result"."""

    def __init__(self, name, inner, result):
        self.name = name
        # As the answer has it, in a text in JSON.
        self.result = json.dumps(json.dumps(
            result, separators=(',', ':')))[1:-1]
        self.body = json.dumps({
            'oslo.version': '2.0',
            'oslo.message': json.dumps({
                **inner, '_msg_id': ID, '_reply_q': REPLY_QUEUE,
                '_timeout': 60, '_unique_id': ID})})

    def write(self, directory):
        """The file of it that the load wants."""
        path = directory / (self.name + '.request')
        path.write_text('\\"result\\":%s,\\"failure\\":null\n%s\n' % (
            self.result, self.body))
        return path


def captured():
    """A call with an instance and a context, as it was on the bus."""
    outer = json.loads((CORPUS / 'call-check_can_live_migrate_source.in.json')
                       .read_text())
    return json.loads(outer['oslo.message'])


def context_of(inner):
    return {name: value for name, value in inner.items()
            if name.startswith('_context_')}


def ping():
    return Request('ping', {
        'method': 'ping', 'namespace': 'baseapi', 'version': '1.1',
        'args': {'arg': 'x'}, **context_of(captured())},
        {'service': 'compute', 'arg': 'x'})


def with_ports(instance, count):
    """The same, whose one port is there so many times."""
    instance = copy.deepcopy(instance)
    data = instance['nova_object.data']['info_cache']['nova_object.data']
    ports = json.loads(data['network_info']) * count
    data['network_info'] = json.dumps(ports)
    return instance


def with_instance(name, method, version, result, **args):
    """A call of nova's with a whole instance, of the size of production's."""
    inner = captured()
    for count in range(1, 20):
        request = Request(name, {
            'method': method, 'version': version, 'args': {
                'instance': with_ports(inner['args']['instance'], count),
                **args},
            **context_of(inner)}, result)
        if len(request.body) >= INSTANCE_BYTES:
            break
    return request


def claim():
    """Decoded and answered: nothing is claimed for it."""
    return with_instance('instance', 'drop_move_claim_at_destination', '6.0',
                         None)


def shared_storage(instances_path):
    """Whether the host sees a file, which the driver is asked."""
    return with_instance(
        'storage', 'check_instance_shared_storage', '5.13', False,
        data={'filename': '%s/tmpprobe' % instances_path})
