"""rpc/client and rpc/notifier, against real peers."""

import threading

import pytest

from harness.echo import echo, own  # noqa: F401
from harness.oslo import Raise
from harness.wait import wait_for


def peer(oslo_server, **methods):
    return oslo_server('compute', 'host2', {
        'echo': lambda context, args: args, **methods},
        endpoints=[(None, '6.0')])


def test_call_to_a_real_server_returns_its_result(own, oslo_server):
    server = peer(oslo_server)
    assert own('call', 'echo', '{"a": [1, null, "x"]}', to='host2') == [
        {'ok': True, 'result': {'a': [1, None, 'x']}}]
    context = server.requests[0]['context']
    assert context['is_admin'] is True
    assert context['request_id'].startswith('req-')


def test_failure_of_a_real_server_keeps_its_class(own, oslo_server):
    def find(context, args):
        raise Raise('InstanceNotFound', 'Instance 7 could not be found.',
                    instance_id='7', code=404)

    peer(oslo_server, find=find)
    assert own('call', 'find', '{}', to='host2') == [
        {'ok': False, 'class': 'InstanceNotFound', 'module': 'nova.exception',
         'message': 'Instance 7 could not be found.'}]


def test_call_times_out(own, oslo_server):
    peer(oslo_server, slow=lambda *_: threading.Event().wait(2))
    line = own('call', 'slow', '{}', to='host2',
               options=('--timeout', '1000'))[0]
    assert line['class'] == 'MessagingTimeout'


def test_call_to_nobody_fails_within_seconds(own):
    line = own('call', 'echo', '{}', to='nobody')[0]
    assert line['class'] == 'MessageUndeliverable'


def test_real_server_keeps_a_monitored_call_alive(own, oslo_server):
    peer(oslo_server, slow=lambda *_: threading.Event().wait(5))
    assert own('call', 'slow', '{}', to='host2',
               options=('--monitor', '2', '--timeout', '20000')) == [
        {'ok': True, 'result': False}]


def test_cast_reaches_a_real_server(own, oslo_server):
    server = peer(oslo_server)
    assert own('cast', 'echo', '{"a": 1}', to='host2')[0]['ok']
    assert server.wait_for('echo')['args'] == {'a': 1}


def test_gather_hears_every_host(own, echo):
    for host in ('host1', 'host2', 'host3'):
        echo(host)
    lines = own('gather', 'who', '{}')
    assert sorted(line['result'] for line in lines) == [
        'host1', 'host2', 'host3']


def test_notification_reaches_a_real_listener(own, listener):
    own('notify', 'ERROR', 'it.broke', '{"host": "host1"}')
    event = listener.wait_for('it.broke')
    assert event['payload'] == {'host': 'host1'}
    assert event['priority'] == 'error'
    assert event['publisher_id'] == 'echo:here'
    assert event['context']['request_id'].startswith('req-')
    assert not event['context'].get('auth_token')
    assert wait_for(lambda: listener.types() == ['it.broke'] * 2)


@pytest.mark.parametrize('options', [(), ('--notify-driver', 'messaging')])
def test_notification_before_any_listener_waits_for_one(
        options, own, oslo_listener, broker):
    topic = 'early' + ''.join(options)
    own('notify', 'SAMPLE', 'it.happened', 'null',
        options=('--notify-topic', topic, *options))
    wait_for(lambda: broker.queues().get(topic + '.sample') == 1)
    listener = oslo_listener(topics=[topic])
    assert listener.wait_for('it.happened')['payload'] is None
