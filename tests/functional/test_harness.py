"""The harness itself: what it says of a good agent has to be worth something."""

import time

import pytest

from harness.droverd import libconfig, merge
from harness.oslo import Failure, Raise, Timeout, Undeliverable
from harness.raw import envelope, opened
from harness.wait import wait_for


def echo_server(oslo_server, **methods):
    return oslo_server('compute', 'host1', {
        'echo': lambda context, args: args, **methods},
        endpoints=[(None, '6.0'), (None, '1.0')])


def test_call_returns_what_the_server_said(client, oslo_server):
    echo_server(oslo_server)
    said = {'text': 'gr\u00fc\u00dfe \U0001f411', 'number': 2 ** 53,
            'none': None, 'list': [1, 'two']}
    assert client.call('echo', _server='host1', _version='6.0',
                       **said) == said


def test_context_reaches_the_server(client, oslo_server):
    server = echo_server(oslo_server)
    client.cast('echo', _server='host1', _context={'request_id': 'req-1'})
    request = server.wait_for('echo')
    assert request['context']['request_id'] == 'req-1'


def test_calls_in_flight_do_not_wait_for_each_other(client, oslo_server):
    seen = []

    def meet(context, args):
        seen.append(args['n'])
        wait_for(lambda: len(seen) == 2, 10, 'both calls')
        return args['n']

    echo_server(oslo_server, meet=meet)
    calls = [client.call_async('meet', _server='host1', n=n) for n in (1, 2)]
    assert [call.result(30) for call in calls] == [1, 2]


def test_failure_is_rebuilt_as_its_class(client, oslo_server):
    def find(context, args):
        raise Raise('InstanceNotFound', 'no such instance', code=404)

    echo_server(oslo_server, find=find)
    with pytest.raises(Failure) as caught:
        client.call('find', _server='host1')
    failure = caught.value
    assert (failure.name, failure.module) == (
        'InstanceNotFound', 'nova.exception')
    assert failure.remote and failure.rebuilt
    assert failure.kwargs == {'code': 404}
    assert failure.message == 'no such instance'


def test_failure_of_a_module_not_allowed_is_not_rebuilt(client, oslo_server):
    def find(context, args):
        raise Raise('Odd', 'strange', module='other.module')

    echo_server(oslo_server, find=find)
    with pytest.raises(Failure) as caught:
        client.call('find', _server='host1')
    assert caught.value.name == 'Odd'
    assert caught.value.remote and not caught.value.rebuilt


def test_nobody_there_is_a_timeout(client):
    with pytest.raises(Timeout):
        client.call('echo', _server='nobody', _topic='nowhere', _timeout=1)


def test_mandatory_message_to_nobody_is_undeliverable(client):
    with pytest.raises(Undeliverable):
        client.call('echo', _server='nobody', _topic='nowhere', _timeout=5,
                    _mandatory=True)


def test_fanout_reaches_every_server(client, oslo_server):
    servers = [oslo_server('compute', name, {'*': lambda *_: None})
               for name in ('host1', 'host2')]
    client.fanout('hello')
    for server in servers:
        server.wait_for('hello')


def test_listener_gets_notifications_in_order(listener, raw):
    # The listener has made the queues and bound them.
    for number in range(20):
        raw.publish(envelope({
            'event_type': 'test.%d' % number, 'publisher_id': 'test',
            'priority': 'INFO', 'payload': {'n': number},
            'message_id': str(number), 'timestamp': '2026-01-01 00:00:00',
            '_unique_id': str(number)}), 'notifications.info', 'nova',
            content_type='application/json', content_encoding='utf-8')
    last = listener.wait_for('test.19')
    assert last['payload'] == {'n': 19}
    assert last['priority'] == 'info'
    assert listener.types() == ['test.%d' % n for n in range(20)]


def test_raw_request_is_answered(raw, oslo_server):
    echo_server(oslo_server)
    queue = raw.queue()
    message_id = raw.request('echo', {'a': 1}, 'compute.host1',
                             reply_q=queue, version='6.0')
    reply = opened(raw.read(queue)[0].body)
    assert reply['_msg_id'] == message_id
    assert reply['result'] == {'a': 1}


def test_raw_sees_what_exists(raw):
    queue = raw.queue('here-i-am')
    assert raw.has_queue(queue)
    assert not raw.has_queue('not-here')
    assert not raw.has_exchange('not-here')


def test_broker_says_what_it_holds(broker, raw):
    queue = raw.queue('counted')
    raw.publish(b'\xff\x00', queue)
    wait_for(lambda: broker.queues().get(queue) == 1, 10, 'a message')
    message = raw.read(queue)[0]
    assert bytes(message.body) == b'\xff\x00'
    assert message.properties == {}


@pytest.mark.parametrize('way', ['restart', 'kill'])
def test_peers_come_back_after_the_broker(way, broker, client, oslo_server):
    server = echo_server(oslo_server)
    client.call('echo', _server='host1')
    if way == 'kill':
        broker.kill()
        assert not broker.is_running
        broker.start()
    else:
        broker.restart()

    def answered():
        try:
            return client.call('echo', _server='host1', _timeout=2, again=1)
        except Failure:
            return None

    assert wait_for(answered, 60, 'an answer') == {'again': 1}
    assert server.requests


def test_wait_for_fails_at_the_deadline_and_says_what():
    start = time.monotonic()
    with pytest.raises(AssertionError, match='the moon: not within 0.1 s'):
        wait_for(lambda: False, 0.1, 'the moon')
    assert time.monotonic() - start < 5


def test_configuration_is_libconfig():
    settings = merge({'host': 'a"b', 'libvirt': {'uri': 'x', 'n': 1}},
                     {'libvirt': {'n': 2, 'on': True}, 'list': ['v2']})
    assert libconfig(settings) == (
        'host = "a\\"b";\n'
        'libvirt :\n{\n    uri = "x";\n    n = 2;\n    on = true;\n};\n'
        'list = [ "v2" ];\n')
