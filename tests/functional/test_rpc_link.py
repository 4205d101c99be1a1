"""rpc/link: topology, and brokers that come, go and misbehave."""

import pytest

from harness.echo import echo, own  # noqa: F401
from harness.oslo import Failure
from harness.wait import wait_for


def call(client, method, **words):
    words.setdefault('_version', '6.0')
    words.setdefault('_server', 'host1')
    return client.call(method, **words)


def answers(client):
    """A condition: the service answers."""
    def condition():
        try:
            return call(client, 'echo', value='here', _timeout=2) == 'here'
        except Failure:
            return False
    return condition


def test_two_connections_are_enough(broker, echo, client):
    echo()
    calls = [client.call_async('echo', _server='host1', _version='6.0',
                               value=n) for n in range(100)]
    assert [each.result(30) for each in calls] == list(range(100))
    names = [c for c in broker.list('connections', 'client_properties')
             if 'rpc_echo' in str(c)]
    assert len(names) == 2


def test_deleted_queue_is_made_again(echo, client, raw):
    service = echo()
    for name in ('compute.host1', 'compute'):
        raw.channel.queue_delete(name)
        wait_for(lambda: raw.has_queue(name), 1.5, name)
        assert wait_for(answers(client), 10)
    assert service.status()['connects'] == 2


def test_deleted_reply_queue_is_made_again(echo, raw):
    service = echo()
    name = service.status()['reply_queue']
    raw.channel.queue_delete(name)
    wait_for(lambda: raw.has_queue(name), 5)
    assert service.status()['connects'] == 2


@pytest.mark.parametrize('way', ['restart', 'kill'])
def test_service_comes_back_with_the_broker(way, echo, broker, client):
    service = echo()
    name = service.status()['reply_queue']
    if way == 'restart':
        broker.restart()
    else:
        broker.kill()
        broker.start()
    service.wait_for('up', 2)
    assert wait_for(answers(client), 60)
    assert name in broker.queues()


def test_reply_survives_a_restart_of_the_broker(echo, broker, client):
    service = echo()
    running = client.call_async('sleep', _server='host1', _version='6.0',
                                seconds=6, _timeout=100)
    wait_for(lambda: call(client, 'count') == 1)
    broker.restart()
    assert running.result(100) == 6
    wait_for(lambda: service.status()['consuming'], 40)


def test_broker_that_is_not_there_yet_is_waited_for(echo, broker, client):
    broker.stop()
    service = echo(ready=False)
    wait_for(lambda: 'connect to' in service.log.read_text(), 20)
    broker.start()
    service.wait_for('up', deadline=40)
    assert wait_for(answers(client), 60)


def test_stop_does_not_wait_for_a_broker_that_is_gone(echo, broker):
    service = echo()
    broker.stop()
    service.wait_for('down')
    service.stop(20)


def test_hung_broker_is_given_up_by_its_silence(echo, broker, client):
    service = echo('host1', '--heartbeat', 2)
    broker.pause()
    service.wait_for('down', deadline=12)
    broker.resume()
    service.wait_for('up', 2, deadline=60)
    assert wait_for(answers(client), 60)


def test_idle_connection_stays_up(echo, broker):
    service = echo('host1', '--heartbeat', 2)
    wait_for(lambda: broker.list('connections', 'timeout') and
             service.status()['ticked'])
    # Long enough for a broker that hears nothing to give up four times.
    with pytest.raises(AssertionError):
        service.wait_for('down', deadline=8)
    assert service.status()['connects'] == 2


def test_blocked_broker_gets_each_message_once(echo, broker, client):
    service = echo()
    assert call(client, 'echo', value=1) == 1
    waiting = client.call_async('sleep', _server='host1', _version='6.0',
                                seconds=4, _timeout=100)
    wait_for(lambda: call(client, 'count') >= 1)
    broker.ctl('set_vm_memory_high_watermark', '0.00001')
    try:
        # The broker tells of its trouble once it is published to.
        wait_for(lambda: service.status()['blocked'], 30)
        assert service.status()['ticked']
    finally:
        broker.ctl('set_vm_memory_high_watermark', '0.4')
    assert waiting.result(60) == 4
    wait_for(lambda: not service.status()['blocked'], 30)
    assert wait_for(answers(client), 60)
    assert service.status()['connects'] == 2


def test_lost_bindings_are_made_again(echo, raw, client):
    service = echo('host1', '--check', 1)
    service.meet(1)
    for exchange, kind, auto_delete in (('nova', 'topic', False),
                                        ('compute_fanout', 'fanout', True)):
        raw.channel.exchange_delete(exchange)
        raw.channel.exchange_declare(exchange, kind, auto_delete=auto_delete)
    assert wait_for(answers(client), 20)
    service.meet(1)
    assert service.status()['connects'] == 2


def test_connection_closed_by_hand_comes_back(echo, broker, client):
    service = echo()
    broker.ctl('close_all_connections', 'for a test')
    service.wait_for('down')
    service.wait_for('up', 2, deadline=40)
    assert wait_for(answers(client), 60)
