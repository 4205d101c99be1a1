"""Signs of life during long calls: conformance tests L1 to L7.

They take their time, so all that are made by hand start at once, and each test
looks at its own.
"""

import threading

import pytest

from harness.echo import (  # noqa: F401
    Echo, by_hand, call, echo, own, peer, program, unharmed)
from harness.oslo import Failure
from harness.raw import PROPERTIES, Raw, envelope, opened, reply_to
from harness.wait import wait_for
from harness.wire import wire  # noqa: F401

pytestmark = pytest.mark.usefixtures('unharmed')

# Of _timeout, and how many keep-alives there are in 2.5 seconds.
ODD_TIMEOUTS = [(1, 0), (0, 0), (-4, 0), ('abc', 0), ({}, 0), ([], 0),
                (1e308, 0), (None, 0), (1.9, 0), ('4', 1), (3.7, 1)]


class LongCalls:
    """Calls made by hand, and what came for each."""

    def __init__(self, url):
        self.raw = Raw(url)
        self._queues = {}

    def start(self, name, host, method, args, timeout, version='6.0'):
        queue = self._queues[name] = self.raw.queue(
            exclusive=True, auto_delete=False)
        self.raw.request(method, args, 'compute.' + host, reply_q=queue,
                         version=version, _timeout=timeout)

    def cast(self, host, seconds):
        self.raw.request('sleep', {'seconds': seconds}, 'compute.' + host,
                         version='6.0')

    def replies(self, name):
        """All up to the one that ends it."""
        return [opened(message.body) for message in self.raw.read_until(
            self._queues[name],
            lambda message: opened(message.body)['ending'], 40)]

    def n_more(self, name):
        return self.raw.depth(self._queues[name])


@pytest.fixture(scope='module')
def services(broker_process, tmp_path_factory):
    """One that has time, 'long1', and one that is busy for 20 seconds."""
    if not program().exists():
        pytest.skip('no ' + str(program()))
    broker_process.start()
    logs = tmp_path_factory.mktemp('long')
    services = [
        Echo(broker_process.url, host, logs / (host + '.log'), *options)
        for host, options in (('long1', ()), ('busy', ('--max-held', '1')))]
    try:
        for service in services:
            service.wait_ready()
        yield services
        for service in services:
            service.check_unharmed()
            service.stop()
    finally:
        for service in services:
            service.kill()


@pytest.fixture(scope='module')
def calls(broker_process, services):
    calls = LongCalls(broker_process.url)
    with calls.raw:
        calls.start('l5', 'long1', 'nosuch', {}, 2)
        calls.start('l5 version', 'long1', 'none', {}, 2, version='9.9')
        calls.start('l1', 'long1', 'sleep', {'seconds': 5}, 4)
        calls.start('l2', 'long1', 'sleep', {'seconds': 1}, 60)
        calls.start('l3', 'long1', 'sleep', {'seconds': 5}, None)
        for timeout, _ in ODD_TIMEOUTS:
            calls.start('l4 %r' % timeout, 'long1', 'sleep', {'seconds': 2.5},
                        timeout)
        calls.start('10 seconds', 'long1', 'sleep', {'seconds': 10}, None)
        calls.cast('busy', 20)
        calls.start('l6', 'busy', 'echo', {'value': 6}, 4)
        yield calls


@pytest.fixture(scope='module')
def real_call(_client, services):
    return _client.call_async('sleep', _server='long1', _version='6.0',
                              seconds=5, _call_monitor_timeout=4)


def shape(replies):
    """"k" for each keep-alive, "r" for a result, "f" for a failure."""
    kinds = ''
    for reply in replies:
        assert sorted(reply) == ['_msg_id', '_unique_id', 'ending', 'failure',
                                 'result']
        assert reply['ending'] or reply['result'] is reply['failure'] is None
        kinds += ('k' if not reply['ending'] else
                  'f' if reply['failure'] else 'r')
    assert len({reply['_unique_id'] for reply in replies}) == len(replies)
    assert len({reply['_msg_id'] for reply in replies}) == 1
    return kinds


def test_l1_monitored_call_hears_twice_in_five_seconds(calls, real_call):
    replies = calls.replies('l1')
    assert shape(replies) == 'kkr'
    assert replies[-1]['result'] == 5


def test_l1_real_caller_waits_beyond_its_monitor_timeout(real_call):
    assert real_call.result(20) == 5


def test_l2_short_call_hears_nothing_before_its_end(calls):
    assert shape(calls.replies('l2')) == 'r'


def test_l3_call_without_a_monitor_hears_nothing(calls):
    assert shape(calls.replies('l3')) == 'r'


@pytest.mark.parametrize('timeout, n_keepalives', ODD_TIMEOUTS,
                         ids=[repr(timeout) for timeout, _ in ODD_TIMEOUTS])
def test_l4_odd_monitor_timeouts(timeout, n_keepalives, calls):
    replies = calls.replies('l4 %r' % timeout)
    assert shape(replies) == 'k' * n_keepalives + 'r'
    assert replies[-1]['result'] == 2.5


def test_l5_failure_is_the_end_and_nothing_comes_after(calls):
    assert shape(calls.replies('l5')) == 'f'
    assert shape(calls.replies('l5 version')) == 'f'
    # Which were sent before this one.
    assert shape(calls.replies('10 seconds')) == 'r'
    for name in ('l5', 'l5 version', 'l1', 'l2', 'l3'):
        assert calls.n_more(name) == 0


def test_l7_signs_of_life_end_with_their_listener(
        wire, echo, raw, oslo_client):
    echo(url=wire.url)
    copies = raw.listen('compute.host1')
    client = oslo_client()
    client.call_async('sleep', _server='host1', _version='6.0', seconds=4,
                      _call_monitor_timeout=2)
    queue = opened(raw.read(copies)[0].body)['_reply_q']
    wire.wait_for(routing_key=queue)
    client.kill()
    raw.channel.queue_delete(queue)
    n_heard = len(wire.find(routing_key=queue))

    def is_answered():
        return opened(wire.find(routing_key=queue)[-1].body)['ending']

    wait_for(is_answered, 10, 'the answer')
    replies = [opened(message.body) for message in wire.find(routing_key=queue)
               ][n_heard:]
    # One finds out that nobody is there any more.
    assert [reply['ending'] for reply in replies if not reply['ending']] == [
        False]


# ---- As a caller ------------------------------------------------------------

def slow(seconds):
    return lambda *_: threading.Event().wait(seconds)


def test_l1_real_server_keeps_our_call_alive(own, oslo_server):
    peer(oslo_server, slow=slow(3.5))
    assert own('call', 'slow', '{}', to='host2',
               options=('--monitor', '2', '--timeout', '20000')) == [
        {'ok': True, 'result': False}]


def test_l1_signs_of_life_do_not_extend_the_time(own, oslo_server):
    peer(oslo_server, slow=slow(6))
    line = own('call', 'slow', '{}', to='host2',
               options=('--monitor', '2', '--timeout', '2500'))[0]
    assert line['class'] == 'MessagingTimeout'
    assert 'no reply' in line['message']


def test_l1_silence_is_the_end_of_a_monitored_call(by_hand):
    line = by_hand(lambda request: None, '--monitor', 2)
    assert line['class'] == 'MessagingTimeout'
    assert 'no sign of life' in line['message']


def test_l3_call_of_ours_times_out(by_hand):
    line = by_hand(lambda request: None, '--timeout', 1000)
    assert line['class'] == 'MessagingTimeout'


def test_l3_sign_of_life_nobody_asked_for_is_let_by(by_hand, raw):
    def answer(request):
        assert request['_timeout'] is None
        for fields in ({'ending': False}, {'ending': False}, {'result': 1}):
            raw.publish(envelope(reply_to(request, **fields)),
                        request['_reply_q'], **PROPERTIES)

    assert by_hand(answer) == {'ok': True, 'result': 1}


# ---- The longest, last ------------------------------------------------------

def test_l6_call_that_waits_for_a_worker_hears_from_us(calls):
    replies = calls.replies('l6')
    kinds = shape(replies)
    # Every two seconds of twenty.
    assert 7 <= len(kinds) - 1 <= 10
    assert kinds == 'k' * (len(kinds) - 1) + 'r'
    assert replies[-1]['result'] == 6
