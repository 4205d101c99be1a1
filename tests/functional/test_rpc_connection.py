"""The conformance tests of connections, C1 to C13: brokers that come, go and
misbehave, and an agent that hears and is heard all the same.

What the broker tells us is to be mended within two seconds, all else within
thirty: tests/bench/faults.py measures that.  The deadlines here are for a busy
machine, and yet too short for the slower of the two ways.
"""

import contextlib
import signal

import pytest

from harness.cluster import Cluster
from harness.echo import echo, run_client  # noqa: F401
from harness.oslo import Failure
from harness.path import Path
from harness.raw import Raw
from harness.wait import wait_for
from harness.wire import wire  # noqa: F401

TOLD = 10     # The broker says what is wrong.
UNTOLD = 60
OWN_QUEUES = ('compute.host1', 'compute', 'fanout', 'reply')


def call(client, method, **words):
    words.setdefault('_version', '6.0')
    words.setdefault('_server', 'host1')
    return client.call(method, **words)


def answers(client, **words):
    """A condition: the service answers."""
    def condition():
        try:
            return call(client, 'echo', value='here', _timeout=2,
                        **words) == 'here'
        except Failure:
            return False
    return condition


def answers_at(url, host='host1'):
    """The same, asked by a client that comes for this call only."""
    def condition():
        done = run_client(url, '--version', '6.0', '--timeout', '2000',
                          '--to', host, 'call', 'echo', '{"value": 1}')
        return done[0].get('result') == 1
    return condition


def is_up(service):
    status = service.status()
    return status['consuming'] and status['publishing']


@pytest.fixture
def path(broker):
    with Path(broker) as made:
        yield made


@contextlib.contextmanager
def alarm(broker, kind):
    """The broker is short of something, and takes no messages."""
    low, well = {
        'memory': (('set_vm_memory_high_watermark', '0.00001'),
                   ('set_vm_memory_high_watermark', '0.4')),
        'disk': (('set_disk_free_limit', '1000000000000000'),
                 ('set_disk_free_limit', '10MB'))}[kind]
    broker.ctl(*low)
    try:
        yield
    finally:
        broker.ctl(*well)


# ---- The broker goes and comes -----------------------------------------------

def test_c1_many_come_back_soon_and_not_in_step(echo, broker):
    services = [echo('host%d' % n) for n in range(10)]
    broker.stop()
    # Long enough for waits between attempts to have grown as far as they do.
    for service in services:
        wait_for(lambda: service.status()['n_failures'] >= 6, 60)
        assert service.status()['ticked']
    broker.start()
    wait_for(lambda: all(len(service.find('up')) == 2
                         for service in services), 5)
    back = sorted(service.find('up')[1]['at'] for service in services)
    assert back[-1] - back[0] > 0.3


@pytest.mark.parametrize('way', ['stop', 'kill'])
def test_service_comes_back_with_the_broker(way, echo, broker, client):
    service = echo()
    name = service.status()['reply_queue']
    getattr(broker, way)()
    service.wait_for('down')
    broker.start()
    service.wait_for('up', 2, deadline=10)
    assert wait_for(answers(client), UNTOLD)
    assert name in broker.queues()
    assert service.status()['n_disconnects'] == 2


def test_broker_that_is_not_there_yet_is_waited_for(echo, broker):
    broker.stop()
    service = echo(ready=False)
    # Not a signal to one that is not there yet, either.
    wait_for(lambda: service.log.read_text().count('connect to') > 2, 20)
    broker.start()
    service.wait_for('up', deadline=10)


def test_stop_does_not_wait_for_a_broker_that_is_gone(echo, broker):
    service = echo()
    broker.stop()
    service.wait_for('down')
    service.stop(20)


def test_c10_caller_gets_the_reply_after_a_restart(echo, broker, client):
    service = echo()
    running = client.call_async('sleep', _server='host1', _version='6.0',
                                seconds=3, _timeout=100)
    wait_for(lambda: call(client, 'count') == 1)
    broker.restart()
    assert running.result(100) == 3
    wait_for(lambda: is_up(service), UNTOLD)
    assert call(client, 'count') == 1


def test_c10_request_under_way_is_answered_once(echo, broker):
    service = echo()
    with Raw(broker.url) as raw:
        raw.queue('kept', durable=True, auto_delete=False)
        raw.request('sleep', {'seconds': 2}, 'compute.host1', version='6.0',
                    reply_q='kept')
        wait_for(lambda: service.status()['held'] == 1)
    broker.kill()
    broker.start()
    with Raw(broker.url) as raw:
        assert len(raw.read('kept', 1, 20)) == 1
        # Whatever else it had to say of that request would be here by now.
        wait_for(answers_at(broker.url), UNTOLD)
        assert raw.queue('kept', passive=True, durable=True) == 'kept'
        assert not raw.channel.basic_get('kept')
        raw.channel.queue_delete('kept')


def test_c10_reply_that_nobody_waits_for_is_dropped(echo, broker, client):
    service = echo()
    running = client.call_async('sleep', _server='host1', _version='6.0',
                                seconds=4, _timeout=6)
    wait_for(lambda: call(client, 'count') == 1)
    # At once: a broker that ends in good order may take longer than the call.
    broker.kill()
    wait_for(lambda: service.status()['n_expired'] == 1, 20)
    assert service.status()['queued'] == 0
    broker.start()
    with pytest.raises(Failure):
        running.result(60)


def test_connection_closed_by_hand_comes_back(echo, broker, client):
    service = echo()
    broker.ctl('close_all_connections', 'for a test')
    service.wait_for('up', 2, deadline=TOLD)
    status = service.status()
    assert status['n_closed'] == 2
    assert 'for a test' in status['error']
    assert wait_for(answers(client), UNTOLD)


# ---- A broker, or a network, that says nothing -------------------------------

def test_c2_lost_packets_are_noticed_on_idle_connections(echo, path, client):
    service = echo(url=path.url)
    path.cut()
    wait_for(lambda: service.status()['n_silent'] == 2, UNTOLD)
    assert not is_up(service)
    assert service.status()['ticked']
    path.mend()
    service.wait_for('up', 2, deadline=UNTOLD)
    assert wait_for(answers(client), UNTOLD)


def test_c2_reply_on_its_way_when_packets_were_lost_arrives(
        echo, path, broker, client):
    service = echo(url=path.url)
    running = client.call_async('sleep', _server='host1', _version='6.0',
                                seconds=1, _timeout=100)
    wait_for(lambda: service.status()['held'] == 1)
    path.cut()
    wait_for(lambda: service.status()['n_silent'] == 2, UNTOLD)
    path.mend()
    assert running.result(60) == 1


def test_c2_packets_lost_while_logging_in(echo, path):
    path.hold()
    service = echo(url=path.url, ready=False)
    wait_for(lambda: path.waiting() == 2)
    path.cut()
    wait_for(lambda: service.status()['n_failures'] >= 2, UNTOLD)
    path.mend()
    service.wait_for('up', deadline=UNTOLD)


def test_hung_broker_is_given_up_by_its_silence(echo, broker, client):
    service = echo('host1', '--heartbeat', 2)
    broker.pause()
    service.wait_for('down', deadline=12)
    broker.resume()
    service.wait_for('up', 2, deadline=UNTOLD)
    assert wait_for(answers(client), UNTOLD)
    assert service.status()['n_silent'] >= 1


@pytest.mark.parametrize('state', ['idle', 'busy', 'blocked'])
def test_c3_heartbeats_are_half_an_interval_apart(state, echo, broker, path,
                                                  client):
    service = echo('host1', '--heartbeat', 4, url=path.url)
    with contextlib.ExitStack() as stack:
        if state == 'busy':
            for _ in range(64):
                client.call_async('sleep', _server='host1', _version='6.0',
                                  seconds=8, _timeout=100)
            wait_for(lambda: service.status()['held'] == 64)
        if state == 'blocked':
            stack.enter_context(alarm(broker, 'memory'))
            service.meets()
            wait_for(lambda: service.status()['blocked'])
        path.forget()
        wait_for(lambda: len(path.sent()) == 2 and
                 all(len(times) > 4 for times in path.sent()), 30)
    for times in path.sent():
        gaps = [late - early for early, late in zip(times, times[1:])]
        assert max(gaps) <= 2, gaps
    assert service.status()['connects'] == 2


# ---- What was declared is gone -----------------------------------------------

@pytest.mark.parametrize('queue', OWN_QUEUES)
def test_c4_deleted_queue_is_made_again(queue, echo, client, raw, broker):
    service = echo()
    name = {'reply': service.status()['reply_queue'],
            'fanout': next(
                each['name'] for each in broker.list('queues', 'name',
                                                     'consumers')
                if each['name'].startswith('compute_fanout_') and
                each['consumers'])}.get(queue, queue)
    running = client.call_async('sleep', _server='host1', _version='6.0',
                                seconds=1, _timeout=10)
    wait_for(lambda: call(client, 'count') == 1)
    raw.channel.queue_delete(name)
    wait_for(lambda: raw.has_queue(name), TOLD, name)
    wait_for(answers(client), TOLD)
    service.meet(1)
    # The others never noticed.
    assert running.result(20) == 1
    status = service.status()
    assert status['connects'] == 2
    assert status['n_cancels'] == 1


def test_expired_reply_queue_is_made_again(echo, broker):
    service = echo('host1', '--ttl', 1)
    name = service.status()['reply_queue']
    service.process.send_signal(signal.SIGSTOP)
    broker.ctl('close_all_connections', 'for a test')
    # Not by a declaration, which would keep it alive.
    wait_for(lambda: name not in broker.queues(), 20)
    service.process.send_signal(signal.SIGCONT)
    service.wait_for('up', 2, deadline=10)
    service.meet(1)
    assert service.status()['reply_queue'] == name


@pytest.mark.parametrize('exchange, kind, auto_delete', [
    ('nova', 'topic', False), ('compute_fanout', 'fanout', True)])
def test_c13_binding_lost_with_its_exchange_is_made_again(
        exchange, kind, auto_delete, echo, raw, client):
    service = echo('host1', '--check', 1)
    service.meet(1)
    raw.channel.exchange_delete(exchange)
    raw.channel.exchange_declare(exchange, kind, auto_delete=auto_delete)
    wait_for(answers(client), UNTOLD)
    wait_for(lambda: service.meets() == 1, UNTOLD)
    assert service.status()['connects'] == 2


def test_c11_missing_exchange_costs_one_channel(echo, raw, client):
    service = echo()
    service.meet(1)
    running = client.call_async('sleep', _server='host1', _version='6.0',
                                seconds=1, _timeout=10)
    wait_for(lambda: call(client, 'count') == 1)
    raw.channel.exchange_delete('compute_fanout')
    # Refused with a 404, then declared; the consumer hears of it and binds.
    service.meet(0)
    wait_for(lambda: service.meets() == 1, TOLD)
    assert running.result(20) == 1
    status = service.status()
    assert status['connects'] == 2
    assert status['n_channels'] == 1
    assert status['n_deaf'] == 1


def test_c11_channel_closed_with_406_is_opened_again(echo, broker, client):
    service = echo()
    # What the broker does when it is told of a delivery that never was.
    broker.ctl('eval', '''
        [gen_server2:cast(C, {method, {'basic.ack', 4711, false}, none, noflow})
         || C <- rabbit_channel:list(),
            proplists:get_value(consumer_count,
                                rabbit_channel:info(C, [consumer_count])) > 3].
    ''')
    wait_for(lambda: service.status()['n_channels'] == 1, TOLD)
    assert 'PRECONDITION_FAILED' in service.log.read_text()
    wait_for(answers(client), TOLD)
    wait_for(lambda: is_up(service))


def test_c11_message_that_costs_the_connection_is_given_up(
        echo, wire, raw, client):
    service = echo(url=wire.url)
    wire.poison = b'brew'
    raw.request('echo', {'value': 'brew'}, 'compute.host1', version='6.0',
                reply_q=raw.queue())
    wait_for(lambda: wire.n_poisoned == 3, UNTOLD)
    wait_for(answers(client), UNTOLD)
    service.meets()
    assert wire.n_poisoned == 3


# ---- Too little of something -------------------------------------------------

@pytest.mark.parametrize('kind', ['memory', 'disk'])
def test_c5_blocked_broker_gets_each_message_once(
        kind, echo, broker, client, oslo_server):
    served = []
    oslo_server('compute', 'other', {
        'note': lambda _, args: served.append(args['n'])},
        endpoints=((None, '6.0'),))
    service = echo()
    running = client.call_async('sleep', _server='host1', _version='6.0',
                                seconds=8, _timeout=100)
    wait_for(lambda: call(client, 'count') >= 1)
    with alarm(broker, kind):
        # The broker tells of its trouble once it is published to.
        service.meets()
        wait_for(lambda: service.status()['blocked'])
        # A call of our own fails when its time is over, not later.
        done = run_client(broker.url, '--version', '6.0', '--timeout', '2000',
                          '--to', 'other', 'call', 'note', '{"n": 1}',
                          timeout=15)
        assert not done[0]['ok']
        wait_for(lambda: service.status()['queued'], 20)
        assert service.status()['ticked']
        assert not running.done()
    assert running.result(20) == 8
    wait_for(lambda: not service.status()['blocked'])
    wait_for(answers(client), UNTOLD)
    status = service.status()
    assert status['connects'] == 2
    assert status['n_blocks'] == 1
    assert call(client, 'note', n=2, _server='other') is None
    assert served.count(2) == 1
    assert served.count(1) <= 1


# ---- A cluster loses a node --------------------------------------------------

@pytest.fixture(scope='module')
def cluster(run_directory):
    made = Cluster(run_directory / 'cluster')
    try:
        made.start()
        yield made
    finally:
        made.kill()


def queue_on(node, name, **options):
    """Declares the service's queue where the service is not connected."""
    with Raw(node.url) as raw:
        raw.queue(name, auto_delete=False, **options)


def test_lost_node_with_the_leader_of_a_quorum_queue(cluster, echo):
    first, second, _ = cluster.nodes
    queue_on(second, 'compute.quorum', durable=True, arguments={
        'x-queue-type': 'quorum', 'x-delivery-limit': 3,
        'x-max-in-memory-length': 1000, 'x-max-in-memory-bytes': 100000})
    service = echo('quorum', '--quorum', url=first.url)
    assert cluster.home_of('compute.quorum') is second
    second.kill()
    wait_for(answers_at(first.url, 'quorum'), UNTOLD)
    assert service.status()['ticked']
    second.start(150)


def test_lost_node_with_the_classic_queue_and_connections(cluster, echo):
    first, second, third = cluster.nodes
    queue_on(third, 'compute.elsewhere')
    elsewhere = echo('elsewhere', url=first.url)
    spread = [echo('host%d' % n, url=cluster.url) for n in range(3)]
    assert cluster.home_of('compute.elsewhere') is third
    third.kill()
    for service in (elsewhere, *spread):
        wait_for(answers_at(first.url, service.host), UNTOLD)
        assert service.status()['ticked']
    # Its connection stood, and it was told of its queue.
    status = elsewhere.status()
    assert status['n_cancels'] >= 1
    assert status['connects'] == 2


def test_lost_node_with_a_durable_queue_is_told_and_waited_for(cluster, echo):
    """Nobody else can have that queue: it is neither deleted nor replaced."""
    first, second, _ = cluster.nodes
    queue_on(second, 'compute.kept', durable=True)
    service = echo('kept', '--durable', url=first.url)
    second.kill()
    wait_for(lambda: "queue 'compute.kept': 404 NOT_FOUND - home node"
             in service.log.read_text(), UNTOLD)
    # With two of three nodes lost, it takes its time.
    second.start(150)
    wait_for(answers_at(first.url, 'kept'), 60)
    assert service.status()['ticked']


# ---- The whole agent ---------------------------------------------------------

def bus(agent):
    return agent.ctl_json('status')['bus']


def hears_itself(agent):
    return bus(agent)['self_test']['state'] == 'ok'


def test_self_test_goes_round_and_is_shown(droverd):
    agent = droverd(settings={'rpc_self_test_interval': 1})
    wait_for(lambda: bus(agent)['self_test']['n_ok'] >= 3)
    status = bus(agent)
    assert status['self_test']['state'] == 'ok'
    assert status['self_test']['reason'] is None
    assert status['self_test']['n_failed'] == 0
    assert status['consuming'] and status['publishing']
    text = agent.ctl('status').stdout
    assert 'connected since ' + status['since'] in text
    assert 'Self-test' in text and 'heard itself 0 s ago' in text


def test_c13_agent_that_lost_its_binding_hears_again(droverd, raw):
    agent = droverd()
    wait_for(lambda: hears_itself(agent))
    raw.channel.exchange_delete('nova')
    raw.channel.exchange_declare('nova', 'topic', auto_delete=False)
    wait_for(lambda: bus(agent)['n_deaf'] == 1, UNTOLD)
    wait_for(lambda: hears_itself(agent), 10)
    status = bus(agent)
    assert status['n_connects'] == 2
    assert '1 times deaf' in agent.ctl('status').stdout


def test_hung_broker_is_found_by_the_self_test(droverd, broker):
    agent = droverd(settings={'rpc_self_test_interval': 2})
    wait_for(lambda: hears_itself(agent))
    broker.pause()
    wait_for(lambda: bus(agent)['self_test']['n_failed'] == 1, UNTOLD)
    wait_for(lambda: not bus(agent)['consuming'], 10)
    agent.wait_told('STATUS', 'Without a bus: last was 127.0.0.1:%d/.'
                    % broker.port)
    broker.resume()
    wait_for(lambda: bus(agent)['consuming'] and hears_itself(agent), UNTOLD)
    assert bus(agent)['n_silent'] >= 1


def test_blocked_broker_is_told_apart_from_deafness(droverd, broker):
    agent = droverd(settings={'rpc_self_test_interval': 1})
    wait_for(lambda: hears_itself(agent))
    with alarm(broker, 'memory'):
        wait_for(lambda: bus(agent)['self_test']['state'] == 'blocked', 20)
        status = bus(agent)
        assert status['blocked'] and status['blocked_since']
        assert status['blocked_reason'] == 'low on memory'
        agent.wait_told('STATUS', 'Serving on 127.0.0.1:%d/, which takes no '
                        'messages: low on memory.' % broker.port)
        assert 'takes no messages since' in agent.ctl('status').stdout
    wait_for(lambda: hears_itself(agent), UNTOLD)
    status = bus(agent)
    assert status['n_connects'] == 2
    assert status['n_repairs'] == 0
