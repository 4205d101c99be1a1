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


def shared_storage(instances_path):
    """Whether the host sees a file: a whole instance comes with the question,
    and is decoded; the driver has the answer."""
    inner = captured()
    for count in range(1, 20):
        request = Request('instance', {
            'method': 'check_instance_shared_storage', 'version': '5.13',
            'args': {
                'instance': with_ports(inner['args']['instance'], count),
                'data': {'filename': '%s/tmpprobe' % instances_path}},
            **context_of(inner)}, False)
        if len(request.body) >= INSTANCE_BYTES:
            break
    return request
