"""The harness itself: what it says of the agent has to be worth something."""

import os
import time

import pytest

from harness import droverd as agent
from harness.droverd import Droverd, libconfig, merge
from harness.guest import Ticks
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


# ---- The agent's keeper -----------------------------------------------------

# Stands in for the agent: does what AGENT says once it has told that it is
# ready, and answers droverctl with its arguments.
STANDIN = '''#!/usr/bin/python3
import json, os, signal, socket, sys
if sys.argv[0].endswith('droverctl'):
    print(json.dumps(sys.argv[1:]))
    sys.exit(0)
print('says this and that', file=sys.stderr, flush=True)
manner = os.environ.get('AGENT')
if manner == 'dies':
    sys.exit(3)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(manner == 'ends badly'))
if manner != 'mute':
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer.sendto(b'STATUS=serving\\nREADY=1\\n', os.environ['NOTIFY_SOCKET'])
while True:
    signal.pause()
'''


@pytest.fixture
def standin(tmp_path, monkeypatch):
    """An agent that is started as AGENT=manner."""
    monkeypatch.setenv('DROVER_BUILDDIR', str(tmp_path))
    for name in ('droverd', 'droverctl'):
        (tmp_path / name).write_text(STANDIN)
        (tmp_path / name).chmod(0o755)
    assert agent.is_built()
    daemon = Droverd(tmp_path / 'run', 'hosta', 'rabbit://x/')
    yield daemon
    daemon.kill()


def test_agent_is_ready_when_it_says_so(standin):
    standin.start()
    assert standin.is_running
    assert 'says this and that' in standin.log_text()
    standin.stop()
    assert not standin.is_running


def test_agent_that_dies_early_is_reported_with_its_log(standin):
    with pytest.raises(AssertionError, match='status 3(.|\n)*this and that'):
        standin.start(environment={'AGENT': 'dies'})


def test_agent_that_does_not_get_ready_is_a_failure(standin):
    with pytest.raises(AssertionError, match='did not say READY=1 within 1 s'):
        standin.start(timeout=1, environment={'AGENT': 'mute'})


def test_agent_has_to_end_with_status_0(standin):
    standin.start(environment={'AGENT': 'ends badly'})
    with pytest.raises(AssertionError, match='ended with status 1'):
        standin.stop()


def test_agent_can_be_killed_and_started_again(standin):
    standin.start()
    first = standin.pid
    standin.kill()
    assert not standin.is_running
    standin.start()
    assert standin.pid != first


def test_droverctl_is_given_the_configuration(standin):
    words = standin.ctl_json('migration', 'list')
    assert words == ['--config-file', str(standin.config_file), 'migration',
                     'list', '--json']
    assert os.path.exists(words[1])


# ---- Ticks ------------------------------------------------------------------

@pytest.fixture
def serial(tmp_path):
    """A serial port: say(lines) and the Ticks that watch it."""
    path = tmp_path / 'serial'
    ticks = Ticks(path)

    def say(*lines):
        with open(path, 'a', encoding='ascii') as port:
            port.write(''.join(line + '\n' for line in lines))

    yield say, ticks
    ticks.close()


def tick(*numbers):
    return ['tick %d %.2f' % (number, number / 20) for number in numbers]


def test_ticks_without_a_fault(serial):
    say, ticks = serial
    say('guest up disk=none', *tick(1, 2, 3))
    wait_for(lambda: ticks.last == 3, 5, 'three ticks')
    assert ticks.faults() == []
    assert ticks.lines == ['guest up disk=none']


def test_boot_anew_is_no_fault(serial):
    say, ticks = serial
    say(*tick(1, 2, 1, 2, 3))
    wait_for(lambda: ticks.last == 3, 5, 'three ticks')
    assert ticks.faults() == []


@pytest.mark.parametrize('lines, fault', [
    (tick(1, 2, 4), 'tick 4 came after tick 2'),
    (tick(1, 2, 3, 3, 4), 'tick 3 came after tick 3'),
    (tick(1, 2, 3, 2, 4), 'tick 2 came after tick 3'),
    (['disk bad piece 7', *tick(1, 4)], 'disk bad piece 7')])
def test_ticks_lost_or_repeated_and_bad_disks_are_faults(serial, lines, fault):
    say, ticks = serial
    say(*lines)
    wait_for(lambda: ticks.last == 4, 5, 'four ticks')
    assert fault in ticks.faults()


def test_longest_gap_is_told_by_our_own_clock(serial):
    say, ticks = serial
    for number in (1, 2, 3):
        say(*tick(number))
        wait_for(lambda: ticks.last == number, 5, 'a tick')
        start = time.monotonic()
        if number == 2:
            wait_for(lambda: time.monotonic() > start + 0.3, 5, 'a pause')
    assert 0.3 <= ticks.longest_gap() < 3
    assert ticks.longest_gap(since=3) == 0
