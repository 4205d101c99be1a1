"""What a server owes its callers: conformance tests S1 to S10."""

import uuid

import pytest

from harness.echo import call, echo, own, unharmed  # noqa: F401
from harness.oslo import Timeout
from harness.raw import PROPERTIES, opened
from harness.wait import wait_for

pytestmark = pytest.mark.usefixtures('unharmed')


def marks(service):
    """What it began to do, in order."""
    return [line['mark'] for line in service.find('ran')]


def call_async(client, method, **words):
    return client.call_async(method, _server='host1', _version='6.0', **words)


# ---- Once, and not twice ----------------------------------------------------

def test_s1_repeated_message_runs_once_whichever_way_it_comes(
        echo, raw, client):
    service = echo()
    ids = {'_unique_id': uuid.uuid4().hex, 'version': '6.0'}

    def repeat():
        raw.request('none', {}, 'compute.host1', **ids)
        raw.request('none', {}, 'compute', **ids)
        raw.request('none', {}, '', exchange='compute_fanout', **ids)

    repeat()
    for n_others in (16, 1000):
        for _ in range(n_others):
            raw.request('none', {}, 'compute.host1', version='6.0')
        repeat()
    wait_for(lambda: call(client, 'count') == 1017)
    assert service.stop()['duplicates'] == 8


def test_s1_repeated_call_is_answered_once(echo, raw, client):
    service = echo()
    queue = raw.queue(auto_delete=False, exclusive=True)
    ids = {'_unique_id': uuid.uuid4().hex, '_msg_id': 'm', 'version': '6.0'}
    for _ in range(2):  # The second comes while the first runs.
        raw.request('sleep', {'seconds': 1}, 'compute.host1', reply_q=queue,
                    **ids)
    raw.read(queue)
    raw.request('sleep', {'seconds': 1}, 'compute.host1', reply_q=queue, **ids)
    assert call(client, 'count') == 1
    assert raw.depth(queue) == 0
    assert service.stop()['duplicates'] == 2


def test_s2_message_without_an_id_is_never_a_repetition(echo, raw, client):
    echo()
    for _ in range(2):
        raw.request('none', {}, 'compute.host1', version='6.0',
                    _unique_id=None)
        raw.publish(b'{"method": "none", "version": "6.0"}', 'compute.host1',
                    'nova', content_type='application/json')
    wait_for(lambda: call(client, 'count') == 4)


# ---- Ended, and started again -----------------------------------------------

def test_s3_crash_loses_nothing_that_was_not_begun(echo, raw, client):
    service = echo('host1', '--max-held', 64)
    for n in range(500):
        raw.request('sleep', {'seconds': 1, 'mark': n}, 'compute.host1',
                    version='6.0')
    wait_for(lambda: len(marks(service)) >= 64)
    service.kill()
    before = marks(service)
    again = echo()
    wait_for(lambda: len(before) + len(marks(again)) >= 500, 20,
             lambda: '%d and %d' % (len(before), len(marks(again))))
    assert raw.depth('compute.host1') == 0
    call(client, 'none')
    assert sorted(before + marks(again)) == list(range(500))


def test_s4_stop_answers_what_runs_and_gives_back_the_rest(echo, raw):
    service = echo('host1', '--max-held', 50)
    queue = raw.queue(auto_delete=False, exclusive=True)
    for n in range(200):
        raw.request('sleep', {'seconds': 1.5, 'mark': n}, 'compute.host1',
                    reply_q=queue, version='6.0', _msg_id=n,
                    properties={**PROPERTIES, 'expiration': '60000'})
    # The broker hands out 64 beyond those that run.
    wait_for(lambda: len(marks(service)) == 50 and
             raw.depth('compute.host1') == 200 - 50 - 64)
    assert service.stop()['executed'] == 50
    assert raw.depth('compute.host1') == 150
    assert raw.depth(queue) == 50
    again = echo()
    replies = [opened(message.body) for message in raw.read(queue, 200)]
    assert {reply['_msg_id'] for reply in replies[:50]} == set(marks(service))
    assert [reply['result'] for reply in replies] == [1.5] * 200
    assert sorted(reply['_msg_id'] for reply in replies) == list(range(200))
    assert sorted(marks(service) + marks(again)) == list(range(200))


def test_s5_requests_during_the_drain_are_left_alone(echo, client, raw):
    service = echo()
    running = call_async(client, 'sleep', seconds=2, mark='running')
    wait_for(lambda: marks(service))
    service.process.terminate()
    service.wait_for('cancelled')
    assert raw.consumers('compute.host1') == 0
    waiting = [call_async(client, 'sleep', seconds=0, mark=n)
               for n in range(20)]
    wait_for(lambda: raw.depth('compute.host1') == 20)
    assert not running.done()
    service.wait_end()
    assert running.result(10) == 2
    assert marks(service) == ['running']
    assert raw.depth('compute.host1') == 20
    again = echo()
    assert [each.result(20) for each in waiting] == [0] * 20
    assert sorted(marks(again)) == list(range(20))


# ---- Too late ---------------------------------------------------------------

def test_s6_call_that_is_too_old_is_not_run(echo, client):
    service = echo('host1', '--max-held', 1)
    client.cast('sleep', _server='host1', _version='6.0', seconds=3)
    with pytest.raises(Timeout):
        call(client, 'none', _timeout=1)
    assert call(client, 'count') == 1
    assert service.stop()['stale'] == 1


def test_s6_call_of_ours_that_is_too_old_is_gone(own, raw):
    queue = raw.listen('compute.silent')
    line = own('call', 'none', '{}', to='silent',
               options=('--timeout', '1000'))[0]
    assert line['class'] == 'MessagingTimeout'
    wait_for(lambda: raw.depth(queue) == 0)


# ---- Callers who are gone ---------------------------------------------------

def test_s7_dead_reply_queues_hold_nobody_up(echo, raw, client):
    service = echo()
    for number in range(64):
        raw.request('none', {}, 'compute.host1', version='6.0',
                    reply_q='reply_dead_%d' % number)
    assert call(client, 'echo', value=1, _timeout=2) == 1
    assert call(client, 'count') == 65
    # Meanwhile they have been tried, and will be again.
    assert service.status()['returns'] >= 64


def test_s8_reply_waits_for_its_queue_to_come_back(echo, raw, client):
    service = echo()
    queue = raw.queue('reply_lost', auto_delete=False)
    raw.request('sleep', {'seconds': 0.5}, 'compute.host1', reply_q=queue,
                version='6.0')
    raw.channel.queue_delete(queue)
    # At first, and after pauses of 250 ms, 500 ms, 1 s and 2 s.
    wait_for(lambda: service.status()['returns'] == 5, interval=0.2)
    raw.queue(queue)
    assert opened(raw.read(queue)[0].body)['result'] == 0.5


def test_s8_how_long_it_waits_is_an_option(droverd, raw):
    agent = droverd('host1', settings={'oslo_messaging_rabbit': {
        'kombu_missing_consumer_retry_timeout': 1}})
    raw.request('ping', {'arg': 1}, 'compute.host1', namespace='baseapi',
                version='1.0', reply_q='reply_dead')
    # Long before the minute that is the default.
    wait_for(lambda: "its queue 'reply_dead' is gone" in agent.log_text(), 20)


# ---- Many -------------------------------------------------------------------

def test_s9_two_connections_do_for_200_callers(echo, client):
    service = echo()
    calls = [call_async(client, 'sleep', seconds=1.5, mark=n)
             for n in range(200)]
    most = 0
    while not all(each.done() for each in calls):
        most = max(most, service.connections())
    assert most == 2
    assert [each.result() for each in calls] == [1.5] * 200
    assert len(marks(service)) == 200


def percentile(times, percent):
    return times[min(len(times) - 1, len(times) * percent // 100)] * 1000


@pytest.mark.parametrize('count, concurrency', [(200, 1), (600, 16)])
def test_s10_latency_beside_a_real_server(
        count, concurrency, echo, oslo_server, oslo_client):
    echo()
    oslo_server('compute', 'host2', {}, endpoints=[(None, '6.0')],
                fixed={'none': None})
    client = oslo_client()
    seen = {}
    for host in ('host2', 'host1'):
        client.bench('none', host, 20, concurrency, '6.0')
        times, errors = client.bench('none', host, count, concurrency, '6.0')
        assert not errors
        assert len(times) == count
        seen[host] = percentile(times, 50), percentile(times, 99)
    print('%2d at once: p50 %.2f ms, p99 %.2f ms; a real server p50 %.2f ms, '
          'p99 %.2f ms; ratio %.2f and %.2f' % (
              concurrency, *seen['host1'], *seen['host2'],
              seen['host1'][0] / seen['host2'][0],
              seen['host1'][1] / seen['host2'][1]))
