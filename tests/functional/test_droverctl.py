"""droverctl, as people and as programs use it."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import time

import pytest

from harness import droverd as agents
from harness.broker import free_ports
from harness.process import bound, run
from harness.wait import wait_for

# 64 MiB at this rate, in MiB/s, take long enough to be watched.
SLOW = '24'


def settings(world, guests, **more):
    # As on real hosts, the path is the same everywhere.
    return {'instances_path': str(world.parent / 'instances'),
            'fake': {'world': str(world), 'guests': guests, 'memory_mb': 64},
            **more}


@pytest.fixture
def pair(droverd, tmp_path):
    """hosta, which has two guests, and hostb."""
    world = tmp_path / 'world'
    world.mkdir()
    return (droverd('hosta', settings=settings(world, 2)),
            droverd('hostb', settings=settings(world, 0)))


def program():
    return agents.build_directory() / 'droverctl'


@pytest.fixture(autouse=True)
def need_droverctl():
    if not agents.is_built():
        pytest.skip('no droverctl in ' + str(agents.build_directory()))


def guest_names(agent):
    return sorted(guest['name'] for guest in agent.ctl_json('instance', 'list')
                  if guest['host'] == agent.host)


def fails(done, *texts, status=1):
    assert done.returncode == status, done.stderr
    for text in texts:
        assert text in done.stderr
    assert 'Sanitizer' not in done.stderr
    return done


class Watched:
    """droverctl in the background: with a terminal, or into pipes."""

    def __init__(self, agent, *words, columns=None):
        command = bound(agent._command('droverctl', *words))
        self.text = ''
        if columns:
            self.fd, end = pty.openpty()
            import fcntl
            import struct
            import termios
            fcntl.ioctl(end, termios.TIOCSWINSZ,
                        struct.pack('HHHH', 24, columns, 0, 0))
        else:
            self.fd, end = os.pipe()
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=end,
            stderr=subprocess.PIPE, text=True, start_new_session=True)
        os.close(end)

    def read(self):
        """Takes what there is; false when there will be no more."""
        while select.select([self.fd], [], [], 0)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # A terminal nobody holds any more.
                return False
            if not data:
                return False
            self.text += data.decode()
        return True

    def wait_for(self, pattern, deadline=20):
        def seen():
            self.read()
            return re.search(pattern, self.text)
        return wait_for(seen, deadline,
                        lambda: '%r in %r' % (pattern, self.text))

    def end(self, timeout=30):
        deadline = time.monotonic() + timeout
        while self.read() and time.monotonic() < deadline:
            select.select([self.fd], [], [], 0.1)
        self.stderr = self.process.communicate(timeout=timeout)[1]
        assert 'Sanitizer' not in self.stderr
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()
        os.close(self.fd)


@pytest.fixture
def watched():
    with contextlib.ExitStack() as stack:
        def make(*args, **more):
            one = Watched(*args, **more)
            stack.callback(one.close)
            return one
        yield make


# ---- Lists --------------------------------------------------------------

def test_hosts_and_instances_of_all_hosts_are_listed(pair):
    hosta, hostb = pair
    hosts = hostb.ctl_json('host', 'list')
    assert [host['host'] for host in hosts] == ['hosta', 'hostb']
    assert [host['n_instances'] for host in hosts] == [2, 0]
    lines = hostb.ctl('host', 'list').stdout.splitlines()
    assert lines[0].split()[:2] == ['HOST', 'HYPERVISOR']
    assert [line.split()[0] for line in lines[1:]] == ['hosta', 'hostb']

    listed = hostb.ctl_json('instance', 'list')
    assert {guest['host'] for guest in listed} == {'hosta'}
    assert len(hostb.ctl('instance', 'list').stdout.splitlines()) == 3
    assert hostb.ctl_json('--host', 'hostb', 'instance', 'list') == []
    assert [host['host'] for host
            in hosta.ctl_json('--host', 'hostb', 'host', 'list')] == ['hostb']


def test_an_instance_is_called_by_name_uuid_or_its_beginning(pair):
    hosta, hostb = pair
    name = guest_names(hosta)[0]
    shown = hostb.ctl_json('instance', 'show', name)
    assert shown['name'] == name and shown['host'] == 'hosta'
    assert shown['disks'][0]['target'] == 'vda'
    assert hostb.ctl_json('instance', 'show', shown['uuid']) == shown
    assert hostb.ctl_json('instance', 'show', shown['uuid'][:8]) == shown
    text = hostb.ctl('instance', 'show', name).stdout
    assert re.search(r'^UUID +' + shown['uuid'], text, re.M)
    assert re.search(r'^vda +disk', text, re.M)


def test_an_instance_that_nobody_has_is_told(pair):
    hosta, _ = pair
    for words in (('instance', 'show', 'nobody'), ('migrate', 'nobody'),
                  ('migration', 'list', 'nobody')):
        fails(hosta.ctl(*words, check=False),
              'droverctl: Instance nobody could not be found.')
    for verb in ('show', 'abort', 'force-complete'):
        fails(hosta.ctl('migration', verb, 'nobody', check=False),
              'droverctl: Migration nobody could not be found.')


def test_a_host_that_is_away_is_named(pair):
    hosta, hostb = pair
    name = guest_names(hosta)[0]
    hosta.ctl('migrate', name, 'hostb', '--watch')
    hostb.stop()
    for words in (('instance', 'show', name), ('migrate', name)):
        done = fails(hosta.ctl(*words, check=False), 'did not answer: hostb',
                     'answered (hosta)')
        assert 'could not be found' not in done.stderr


def test_a_name_on_two_hosts_is_ambiguous(droverd, tmp_path):
    pair = []
    for host in ('hosta', 'hostb'):
        world = tmp_path / ('world-' + host)
        world.mkdir()
        pair.append(droverd(host, settings=settings(world, 0)))
        pair[-1].ctl('fake', 'guest-add', 'twin', '64', '1')
    for agent in pair:
        wait_for(lambda agent=agent: guest_names(agent) == ['twin'], 10,
                 'the guest is adopted')
    done = fails(pair[0].ctl('instance', 'show', 'twin', check=False),
                 "'twin' names several instances", 'on hosta', 'on hostb')
    uuid = re.search(r'([0-9a-f-]{36}) on hostb', done.stderr)[1]
    assert pair[0].ctl_json('instance', 'show', uuid)['host'] == 'hostb'
    assert pair[0].ctl_json('--host', 'hosta', 'instance', 'show',
                            'twin')['host'] == 'hosta'


# ---- Migrations ---------------------------------------------------------

def test_migrate_prints_the_uuid_and_does_not_wait(pair):
    hosta, hostb = pair
    name = guest_names(hosta)[0]
    hosta.ctl('fake', 'bandwidth', '8')
    uuid = hostb.ctl('migrate', name, 'hostb').stdout.strip()
    assert re.fullmatch(r'[0-9a-f-]{36}', uuid)
    for called in (uuid, uuid[:8], name):
        shown = hostb.ctl_json('migration', 'show', called)
        assert (shown['uuid'], shown['source'], shown['dest']) == (
            uuid, 'hosta', 'hostb')
    text = hostb.ctl('migration', 'show', uuid).stdout
    assert re.search(r'^To +hostb$', text, re.M)
    assert uuid in hostb.ctl('migration', 'list', name).stdout
    assert hostb.ctl_json('migration', 'list',
                          guest_names(hosta)[1]) == []
    wait_for(lambda: hostb.ctl_json('migration', 'show', uuid)['rate'], 20,
             'it is being moved')
    hostb.ctl('migration', 'abort', uuid)
    wait_for(lambda: hostb.ctl_json('migration', 'show', uuid)['status']
             == 'cancelled', 20, 'it is cancelled')


def test_a_migration_has_settings_of_its_own_and_they_can_be_changed(pair):
    hosta, _ = pair
    name = guest_names(hosta)[0]
    hosta.ctl('fake', 'hang', 'transfer')
    hosta.ctl('migrate', name, 'hostb', '--bandwidth', '5', '--downtime',
              '700', '--completion-timeout', '900', '--timeout-action',
              'force_complete', '--convergence', '3:downtime,9:abort')
    expected = {'bandwidth': 5, 'downtime': 700, 'completion_timeout': 900,
                'timeout_action': 'force_complete',
                'convergence': '3:downtime,9:abort'}
    shown = hosta.ctl_json('migration', 'show', name)
    assert shown['settings'] == expected
    changed = hosta.ctl_json('migration', 'set', name, '--bandwidth', '0')
    expected['bandwidth'] = 0
    assert changed['settings'] == expected
    text = hosta.ctl('migration', 'show', name).stdout
    assert re.search(r'^Bandwidth +0 MiB/s$', text, re.M)
    assert re.search(r'^Convergence +3:downtime,9:abort$', text, re.M)
    hosta.ctl('fake', 'release')
    wait_for(lambda: hosta.ctl_json('migration', 'show',
                                    name)['status'] == 'completed', 30,
             'it is completed')
    assert hosta.ctl_json('migration', 'show', name)['settings'] == expected
    fails(hosta.ctl('migration', 'set', shown['uuid'], '--downtime', '9',
                    check=False), 'is completed')
    name = guest_names(hosta)[0]
    fails(hosta.ctl('migrate', name, '--convergence', '1:nothing',
                    check=False), 'convergence must be')
    fails(hosta.ctl('migrate', name, '--convergence', '1:postcopy',
                    check=False), 'live_migration_permit_post_copy')


def test_check_moves_nothing(pair):
    hosta, hostb = pair
    name = guest_names(hosta)[0]
    done = hosta.ctl('migrate', name, '--check')
    assert re.search(r'^hostb +memory +passed', done.stdout, re.M)
    assert re.search(r'^Destination +hostb$', done.stdout, re.M)
    assert hosta.ctl_json('migrate', name, '--check')['ok'] is True
    assert hosta.ctl_json('migration', 'list') == []

    fails(hosta.ctl('migrate', name, 'hostx', '--check', check=False),
          "'%s' can't be moved" % name)
    done = fails(hosta.ctl('migrate', name, 'hostx', '--check', '--json',
                           check=False))
    assert json.loads(done.stdout)['ok'] is False


def percentages(text):
    return [int(n) for n in re.findall(r' (\d+)%', text)]


def test_watch_prints_lines_and_a_summary(pair):
    hosta, hostb = pair
    name = guest_names(hosta)[0]
    hosta.ctl('fake', 'bandwidth', SLOW)
    text = hosta.ctl('migrate', name, 'hostb', '--watch').stdout
    assert '\r' not in text and '\033' not in text
    seen = percentages(text)
    assert seen[0] == 0 and seen[-1] == 100 and seen == sorted(seen)
    assert len(seen) >= 4
    assert re.search(r'\d+ MiB done, \d+ left, \d+ MiB/s', text)
    for line in (r'Was on +hosta', r'Is on +hostb', r'Downtime +\d+ ms',
                 r'Data moved +\d+ MiB', r'Total time +\d'):
        assert re.search('^%s' % line, text, re.M), text
    assert guest_names(hostb) == [name]


def test_watch_as_json_prints_documents(pair):
    hosta, _ = pair
    name = guest_names(hosta)[0]
    hosta.ctl('fake', 'bandwidth', SLOW)
    documents = hosta.ctl_events('migrate', name, '--watch')
    assert len(documents) >= 3
    assert len({document['uuid'] for document in documents}) == 1
    assert documents[-1]['status'] == 'completed'
    assert documents[-1]['downtime_ms'] is not None
    assert all(one != next for one, next in zip(documents, documents[1:]))


def test_watch_draws_a_bar_on_a_terminal(pair, watched):
    hosta, _ = pair
    name = guest_names(hosta)[0]
    hosta.ctl('fake', 'bandwidth', SLOW)
    shown = watched(hosta, 'migrate', name, '--watch', columns=72)
    assert shown.end() == 0
    bars = [bar for bar in shown.text.split('\r') if '[' in bar]
    assert len(bars) >= 5
    assert all(len(bar) <= 71 for bar in bars)
    seen = percentages('\n'.join(bars))
    assert seen == sorted(seen) and seen[-1] == 100
    assert '#' in bars[-1] and 'Is on           hostb' in shown.text


def test_watch_fails_when_the_migration_does(pair):
    hosta, _ = pair
    name = guest_names(hosta)[0]
    hosta.ctl('fake', 'fail', 'migrate', 'MIGRATION')
    done = fails(hosta.ctl('migrate', name, 'hostb', '--watch', check=False),
                 "migration of '%s' failed" % name)
    assert re.search(r'^Is on +hosta$', done.stdout, re.M)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupted_watch_leaves_the_migration_alone(pair, watched, number):
    hosta, hostb = pair
    name = guest_names(hosta)[0]
    hosta.ctl('fake', 'bandwidth', SLOW)
    shown = watched(hosta, 'migrate', name, 'hostb', '--watch')
    shown.wait_for('running/transfer')
    shown.process.send_signal(number)
    assert shown.end() == 1
    assert 'goes on without being watched' in shown.stderr
    uuid = re.search(r'migration ([0-9a-f-]{36})', shown.stderr)[1]
    wait_for(lambda: hosta.ctl_json('migration', 'show', uuid)['status']
             == 'completed', 20, 'it is completed')
    assert guest_names(hostb) == [name]


def test_watch_waits_for_a_source_that_is_away(pair, watched):
    hosta, _ = pair
    name = guest_names(hosta)[0]
    hosta.ctl('fake', 'hang', 'migrate')
    shown = watched(hosta, 'migrate', name, 'hostb', '--watch')
    shown.wait_for('running/transfer')
    hosta.kill()
    # What it says of the agent goes to standard error.
    told = ''

    def hears(text):
        nonlocal told
        while text not in told:
            if not select.select([shown.process.stderr], [], [], 30)[0]:
                raise AssertionError('no %r in %r' % (text, told))
            told += os.read(shown.process.stderr.fileno(), 4096).decode()

    hears('asking again')
    hosta.start()
    hears('is back')
    # The fake forgets what it moved: the agent takes it back.
    assert shown.end(60) == 1
    assert "migration of '%s' failed" % name in told + shown.stderr


# ---- Events -------------------------------------------------------------

def test_events_are_shown_once_each_as_they_happen(pair, watched):
    hosta, hostb = pair
    name = guest_names(hosta)[0]
    lines = watched(hosta, 'events')
    documents = watched(hosta, 'events', '--json')
    for one in (lines, documents):
        ready = one.process.stderr.readline()
        assert ready == "droverctl: listening to exchange 'nova'\n"
    hosta.ctl('migrate', name, 'hostb', '--watch')
    lines.wait_for(r'live_migration._post.end')
    lines.wait_for(r'live_migration_post.end')
    documents.wait_for(r'live_migration_post.end')
    for one in (lines, documents):
        one.process.send_signal(signal.SIGINT)
        assert one.end() == 0

    events = [json.loads(line) for line in documents.text.splitlines()]
    ids = [event['message_id'] for event in events]
    assert len(set(ids)) == len(ids)
    types = [event['event_type'] for event in events]
    for legacy in ('pre.start', 'pre.end', '_post.start', 'post.dest.start',
                   'post.dest.end', '_post.end'):
        assert types.count('compute.instance.live_migration.' + legacy) == 1
    assert 'instance.live_migration_pre.start' in types
    shown = [line.split() for line in lines.text.splitlines()]
    assert [words[3] for words in shown] == types
    assert {words[-1] for words in shown} == {name}
    assert {words[4] for words in shown} >= {'compute.hosta', 'compute.hostb'}


def test_events_leave_nothing_behind(pair, broker, watched):
    hosta, _ = pair
    shown = watched(hosta, 'events')
    shown.process.stderr.readline()
    assert any(name.startswith('listen_') for name in broker.queues())
    shown.process.send_signal(signal.SIGTERM)
    assert shown.end() == 0
    assert not any(name.startswith('listen_') for name in broker.queues())


def test_events_go_on_after_the_broker_was_away(pair, broker, watched):
    hosta, _ = pair
    name = guest_names(hosta)[0]
    shown = watched(hosta, 'events')
    shown.process.stderr.readline()
    broker.restart()
    assert 'is away' in shown.process.stderr.readline()
    assert 'is back' in shown.process.stderr.readline()
    for agent in pair:
        wait_for(lambda: hosta.ctl('--timeout', '5', 'host', 'show',
                                   agent.host, check=False).returncode == 0,
                 60, agent.host + ' is back')
    hosta.ctl('--timeout', '30', 'migrate', name, 'hostb', '--watch')
    shown.wait_for(r'live_migration._post.end', 30)


# ---- One agent ----------------------------------------------------------

def test_status_needs_no_broker(pair, broker):
    hosta, hostb = pair
    status = hosta.ctl_json('status')
    assert status['host'] == 'hosta' and status['pid'] == hosta.pid
    assert status['bus']['consuming'] is True
    assert hosta.ctl_json('status', 'hostb')['pid'] == hostb.pid
    assert hosta.ctl_json('--host', 'hostb', 'status')['pid'] == hostb.pid
    assert hosta.ctl_json('host', 'show')['host'] == 'hosta'
    assert hosta.ctl_json('host', 'show', 'hostb')['host'] == 'hostb'
    broker.stop()
    wait_for(lambda: not hosta.ctl_json('status')['bus']['consuming'], 20,
             'the agent notices')
    assert 'not connected' in hosta.ctl('status').stdout
    fails(hosta.ctl('--timeout', '1', 'host', 'list', check=False),
          "the broker can't be reached")


def test_operations_fakes_and_faults_of_an_agent(pair):
    hosta, _ = pair
    name = guest_names(hosta)[0]
    assert hosta.ctl_json('op', 'list') == []
    hosta.ctl('fake', 'hang', 'migrate')
    uuid = hosta.ctl('migrate', name, 'hostb').stdout.strip()
    wait_for(lambda: 'transfer' in hosta.ctl('op', 'list').stdout, 20,
             'it is being moved')
    assert [op['key'] for op in hosta.ctl_json('op', 'list')] == [uuid]
    hosta.ctl('fake', 'release')
    fails(hosta.ctl('fake', 'no', 'such', 'thing', check=False), 'no')
    assert hosta.ctl_json('--host', 'hostb', 'fake', 'list')['answer'] \
        is not None
    assert isinstance(hosta.ctl_json('fault', 'list'), list)
    wait_for(lambda: hosta.ctl_json('op', 'list') == [], 20, 'it is over')


def test_what_was_left_behind_is_shown_retried_and_forgotten(pair):
    """A migration is over all the same, and looks it."""
    hosta, hostb = pair
    names = guest_names(hosta)
    left = {}
    hostb.ctl('fake', 'fail', 'persist', 'INTERNAL', '1000')
    for name in names[:2]:
        uuid = hosta.ctl('migrate', name, 'hostb').stdout.strip()
        wait_for(lambda: hosta.ctl_json('migration', 'show', uuid)['status']
                 == 'completed', 60, 'it is completed')
        wait_for(lambda: len([op for op in hostb.ctl_json('op', 'list')
                              if op['residue']]) > len(left), 60,
                 'something is left behind')
        op = hostb.ctl_json('op', 'list')[-1]
        assert op['step'] == 'finished' and op['committed']
        assert [(r['step'], r['direction']) for r in op['residue']] \
            == [('persist', 'run')]
        left[name] = str(op['op'])

    shown = hostb.ctl('status').stdout
    assert re.search(r'^Left behind +2,', shown, re.M)
    assert re.search(r'persist +run .*INTERNAL|persist +run .*fail', shown)
    first, second = left.values()
    shown = hostb.ctl('op', 'show', first).stdout
    assert re.search(r'^Type +incoming-migration$', shown, re.M)
    assert re.search(r'^persist +run$', shown, re.M)
    fails(hostb.ctl('op', 'show', '99999', check=False), 'no operation')

    # Not without being asked; then the other one stays.
    fails(hostb.ctl('op', 'forget', first, check=False), 'say --yes')
    hostb.ctl('op', 'forget', '--yes', first)
    assert [str(op['op']) for op in hostb.ctl_json('op', 'list')] == [second]
    hostb.ctl('fake', 'fail', 'persist', 'INTERNAL', '0')
    hostb.ctl('op', 'retry', second, check=False)
    wait_for(lambda: hostb.ctl_json('op', 'list') == [], 60, 'it is done')
    assert 'Left behind' not in hostb.ctl('status').stdout


def test_a_lost_agent_is_told(pair, tmp_path):
    hosta, _ = pair
    fails(hosta.ctl('--socket', tmp_path / 'none', 'status', check=False),
          'is droverd running?')
    fails(hosta.ctl('--timeout', '1', 'status', 'hostx', check=False),
          "host 'hostx' has no agent on this bus")
    hosta.kill()
    fails(hosta.ctl('status', check=False), 'is droverd running?')
    assert stat.S_ISSOCK(os.stat(hosta.control_socket).st_mode)
    hosta.start()  # In the place of the one that was left behind.
    assert hosta.ctl_json('status')['host'] == 'hosta'


def test_an_agent_that_hangs_does_not_hang_droverctl(pair):
    hosta, hostb = pair
    hosta.signal(signal.SIGSTOP)
    try:
        fails(hosta.ctl('--timeout', '0.5', 'status', check=False),
              'does not answer in time')
        done = hostb.ctl('--timeout', '1', 'host', 'list')
        assert 'hostb' in done.stdout and 'hosta' not in done.stdout
        assert 'not all hosts have answered' in done.stderr
        fails(hostb.ctl('--timeout', '1', 'instance', 'show', 'x',
                        check=False), 'not all have answered')
    finally:
        hosta.signal(signal.SIGCONT)


# ---- The control socket -------------------------------------------------

def test_the_socket_speaks_lines_of_json(pair):
    hosta, _ = pair
    assert stat.S_IMODE(os.stat(hosta.control_socket).st_mode) == 0o660
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(20)
        peer.connect(hosta.control_socket)
        lines = peer.makefile('rw', encoding='utf-8')

        def ask(request):
            lines.write(request + '\n')
            lines.flush()
            return json.loads(lines.readline())

        assert ask('{"method": "status", "id": 5}')['result']['host'] == 'hosta'
        assert ask('no JSON')['failure']['class'] == 'ValueError'
        assert ask('{"method": "nonsense", "id": "x"}')['id'] == 'x'
        assert ask('{"method": "instance_show"}')['failure']['class'] \
            == 'TypeError'
        seen = ask('{"method": "instance_show", "args": {"instance": "q"}}')
        assert seen['failure']['class'] == 'InstanceNotFound'


def test_a_second_agent_does_not_take_the_socket(pair, droverd):
    hosta, _ = pair
    other = droverd('hostc', start=False,
                    settings={'control_socket': hosta.control_socket})
    other.start(wait=False)
    assert other.wait() == 1
    assert 'another agent is using it' in other.log_text()
    assert hosta.ctl_json('status')['host'] == 'hosta'


# ---- The command line ---------------------------------------------------

@pytest.mark.parametrize('words, text', [
    ((), 'usage: droverctl [OPTIONS] VERB'),
    (('nonsense',), "no verb 'nonsense'"),
    (('host',), 'host show [HOST]'),
    (('migrate',), 'usage: droverctl [OPTIONS] migrate'),
    (('migrate', 'a', 'b', 'c'), "'migrate' takes fewer arguments"),
    (('migrate', 'a', '--shared', '--block-migrate'), 'exclude each other'),
    (('migrate', 'a', '--check', '--watch'), 'exclude each other'),
    (('migrate', 'a', '--bandwidth', '1.5'), "'1.5' is no number"),
    (('migration', 'set', 'a'), 'needs --bandwidth or --downtime'),
    (('migration', 'set', 'a', '--convergence', 'nova'),
     "'migration set' takes no --convergence"),
    (('host', 'list', '--watch'), "'host list' takes no --watch"),
    (('--timeout', 'soon', 'host', 'list'), "--timeout 'soon'"),
    (('--timeout', '-1', 'host', 'list'), "--timeout '-1'"),
    (('--bogus', 'host', 'list'), "unrecognized option '--bogus'"),
])
def test_wrong_usage_has_status_2(words, text):
    done = run([program(), *words], check=False)
    fails(done, text, 'usage: droverctl', status=2)
    assert done.stdout == ''


def test_help_and_version_go_to_standard_output():
    for words in (('--help',), ('migrate', '--help'), ('--version',)):
        done = run([program(), *words])
        assert 'droverctl' in done.stdout and done.stderr == ''
    assert '--block-migrate' in run([program(), 'migrate', '--help']).stdout


def test_a_broker_that_can_not_be_reached_is_told_in_time(broker):
    port = free_ports(1)
    start = time.monotonic()
    fails(run([program(), '--url', 'rabbit://guest:guest@127.0.0.1:%d/' % port,
               '--timeout', '2', 'host', 'list'], check=False),
          "the broker can't be reached")
    fails(run([program(), '--url', broker.url.replace('guest@', 'wrong@'),
               '--timeout', '2', 'host', 'list'], check=False),
          "the broker can't be reached", 'ACCESS_REFUSED')
    assert time.monotonic() - start < 15


def test_without_agents_nobody_answers(broker):
    fails(run([program(), '--url', broker.url, '--timeout', '3', 'host',
               'list'], check=False), 'no agent answers')


def test_without_a_configuration_it_is_told_how_to_go_on(tmp_path):
    fails(run([program(), '--config-file', tmp_path / 'none', 'host', 'list'],
              check=False), 'cannot be opened')
    fails(run([program(), '--url', 'http://x/', 'host', 'list'], check=False),
          'transport_url')
    done = run([program(), '--url', 'rabbit://u:secret@127.0.0.1:1/?ssl=soon',
                'host', 'list'], check=False)
    fails(done, "option 'ssl'")
    assert 'secret' not in done.stderr
