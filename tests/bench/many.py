"""Many agents on one broker, and their coming back after its restart."""

import collections
import contextlib
import datetime
import pathlib
import re
import resource
import signal
import statistics
import subprocess
import time

from harness.broker import Broker
from harness.raw import Raw, PROPERTIES, opened
from harness.wait import wait_for
from place import Place, table

BACK_S = 60
DOWN_S = 5
HEARTBEAT_S = 10
WATCHED_S = 30
START_AT_ONCE = 16
N_FILES = 65536

# Connections wait for the broker's acceptors, not for another attempt.
BROKER_CONF = '''
tcp_listen_options.backlog = 4096
num_acceptors.tcp = 32
'''

# In an agent's log.  (Of attempts that fail it tells a few only.)
CONNECTED = re.compile(r'^(\S+)Z\|.*\|(?:publishing to|consuming from) ', re.M)


def many(place):
    raise_limit()
    broker = Broker(place.directory / 'many')
    broker.directory.mkdir()
    (broker.directory / 'more.conf').write_text(BROKER_CONF)
    broker.start()
    with contextlib.ExitStack() as stack:
        stack.callback(broker.stop)
        there = Place(place.directory, broker)
        agents = [stack.enter_context(agent_of(there))
                  for _ in range(place.n_agents)]
        stack.callback(end, agents)
        start_s = start(agents)
        print('\n%d agents; up after %.1f s' % (len(agents), start_s),
              flush=True)
        all_answer(broker, agents, 60)
        watch_heartbeats(broker, len(agents))
        print_memory(broker, agents)
        print_return(broker, agents)


@contextlib.contextmanager
def agent_of(place):
    with place.agent(settings={'oslo_messaging_rabbit': {
            'heartbeat_timeout_threshold': HEARTBEAT_S}}) as agent:
        yield agent


def raise_limit():
    """Of open files: the broker has one for each connection."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (
        N_FILES if most == resource.RLIM_INFINITY else min(N_FILES, most),
        most))


def start(agents):
    """Starts all, some at a time; the seconds that it took."""
    began = time.monotonic()
    for first in range(0, len(agents), START_AT_ONCE):
        batch = agents[first:first + START_AT_ONCE]
        for agent in batch:
            agent.start(wait=False)
        for agent in batch:
            agent.wait_ready(60)
    return time.monotonic() - began


def end(agents):
    """Ends all at once; each alone would take a second."""
    for agent in agents:
        if agent.is_running:
            agent.signal(signal.SIGTERM)
    for agent in agents:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if agent.is_running:
                agent.wait(30)


# ---- Answers ----------------------------------------------------------------

def all_answer(broker, agents, timeout):
    """Pings each through its own queue, again until it answers; when each did,
    by the monotonic clock."""
    waiting = {agent.host for agent in agents}
    answered, ends_at = {}, time.monotonic() + timeout
    with Raw(broker.url) as raw:
        replies = raw.queue()
        asked = {}

        def on_reply(message):
            host = asked.get(opened(message.body)['_msg_id'])
            if host in waiting:
                waiting.remove(host)
                answered[host] = time.monotonic()

        raw.channel.basic_consume(replies, callback=on_reply, no_ack=True)
        while waiting:
            if time.monotonic() > ends_at:
                raise AssertionError('%d of %d agents do not answer within '
                                     '%g s, such as %s' % (
                                         len(waiting), len(agents), timeout,
                                         min(waiting)))
            for host in sorted(waiting):
                asked[ping(raw, host, replies)] = host
            listen(raw, 0.5, lambda: not waiting)
    return answered


def ping(raw, host, replies):
    """Past the exchange, which goes with the broker."""
    return raw.request('ping', {'arg': host}, 'compute.' + host, '', replies,
                       {**PROPERTIES, 'expiration': '5000'},
                       namespace='baseapi', version='1.1')


def listen(raw, seconds, is_enough):
    until = time.monotonic() + seconds
    while not is_enough():
        left = until - time.monotonic()
        if left <= 0:
            return
        with contextlib.suppress(TimeoutError):
            raw.drain(left)


# ---- Connections ------------------------------------------------------------

def connections(broker):
    """By the broker's process: heartbeat and bytes received."""
    return {one['pid']: one for one in broker.list(
        'connections', 'pid', 'timeout', 'recv_oct', 'channels',
        'client_properties')
        if 'droverd:' in str(one['client_properties'])}


def watch_heartbeats(broker, n_agents):
    """Three intervals of nothing but heartbeats and self-tests."""
    before = connections(broker)
    ends_at = time.monotonic() + WATCHED_S
    wait_for(lambda: time.monotonic() > ends_at, WATCHED_S + 5, interval=0.5)
    after = connections(broker)
    same = [pid for pid in before if pid in after]
    alive = [pid for pid in same
             if after[pid]['recv_oct'] > before[pid]['recv_oct']]
    table('Connections, after %d s of rest' % WATCHED_S,
          ('', 'number', 'target'),
          [('connections', len(after), 2 * n_agents),
           ('channels', sum(one['channels'] for one in after.values()),
            2 * n_agents),
           ('with a heartbeat of %d s' % HEARTBEAT_S,
            sum(one['timeout'] == HEARTBEAT_S for one in after.values()),
            2 * n_agents),
           ('the same as before', len(same), 2 * n_agents),
           ('that sent something meanwhile', len(alive), 2 * n_agents)])


# ---- Memory -----------------------------------------------------------------

def numbers_of(pid):
    proc = pathlib.Path('/proc/%d' % pid)
    sums = collections.Counter()
    for line in (proc / 'smaps_rollup').read_text().splitlines()[1:]:
        name, value, _ = line.split()
        sums[name] += int(value) / 1024
    return (sums['Rss:'], sums['Private_Dirty:'], sums['Pss:'],
            len(list((proc / 'fd').iterdir())),
            len(list((proc / 'task').iterdir())))


def print_memory(broker, agents):
    columns = list(zip(*(numbers_of(agent.pid) for agent in agents)))
    names = ('resident MiB', 'private dirty MiB', 'PSS MiB', 'descriptors',
             'threads')
    table('Each agent', ('', 'min', 'median', 'max', 'sum'), [
        (name, *('%.1f' % value for value in (
            min(column), statistics.median(column), max(column),
            sum(column)))) for name, column in zip(names, columns)])
    resident, private, _, descriptors, threads = numbers_of(broker.pid)
    print('\n  the broker: %.0f MiB resident, %.0f MiB private dirty, '
          '%d descriptors, %d threads' % (
              resident, private, descriptors, threads), flush=True)


# ---- Restart ----------------------------------------------------------------

def print_return(broker, agents):
    broker.stop()
    down_at = time.monotonic()
    wait_for(lambda: time.monotonic() > down_at + DOWN_S, DOWN_S + 5)
    broker.start()
    up_at = time.monotonic()
    up_wall = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    answered = all_answer(broker, agents, 4 * BACK_S)
    took = sorted(when - up_at for when in answered.values())
    table('After a restart of the broker, which was away for %.1f s'
          % (up_at - down_at), ('s', 'min', 'median', 'max', 'target'),
          [('each answers again', *('%.1f' % value for value in (
              took[0], statistics.median(took), took[-1])),
            '<= %d' % BACK_S)])
    print_attempts(agents, up_wall)


def print_attempts(agents, up_wall):
    """By the second since the broker served; it may have a little before."""
    made = collections.Counter()
    for agent in agents:
        for when in CONNECTED.findall(agent.log_text()):
            at = datetime.datetime.fromisoformat(when)
            second = int((at - up_wall).total_seconds() // 1)
            made[second] += second >= -DOWN_S
    seconds = [second for second in made if made[second]]
    most = max(made.values())
    table('Connections that were made again, by the second',
          ('second', 'connected', ''),
          [(second, made[second], bar(made[second], most))
           for second in range(min(seconds), max(seconds) + 1)],
          'all: %d; most in a second: %d' % (sum(made.values()), most))


def bar(value, most):
    return ('#' * round(40 * value / most)).ljust(40)
