"""Faults of a broker and of the way to it: when an agent with the options as
they are notices, and when it answers again."""

import concurrent.futures
import signal
import socket
import time
import uuid

import amqp

from harness.broker import Broker
from harness.cluster import Cluster
from harness.path import Path
from harness.raw import Raw, envelope
from harness.wait import wait_for
from place import Place, table

TOLD_S = 2
UNTOLD_S = 30
GIVE_UP_S = 90
LOOK_S = 0.1

# How long a broker is away, hangs or takes nothing.
AWAY_S, HUNG_S, BLOCKED_S = 20, 40, 10


class Caller:
    """Calls an agent, directly or with all its like, over its own connection
    to a broker."""

    def __init__(self, url, host, by_fanout=False):
        self._url = url
        self._to = {'routing_key': 'compute.' + host, 'exchange': 'nova'}
        if by_fanout:
            self._to = {'routing_key': '', 'exchange': 'compute_fanout'}

    def is_answered(self):
        """Whether a ping is answered within a second."""
        try:
            with Raw(self._url) as raw:
                queue = raw.queue('', exclusive=True)
                raw.publish(envelope({
                    'method': 'ping', 'args': {'arg': 1}, 'version': '1.0',
                    'namespace': 'baseapi', '_unique_id': uuid.uuid4().hex,
                    '_msg_id': uuid.uuid4().hex, '_reply_q': queue}),
                    content_type='application/json', **self._to)
                raw.read(queue, 1, 1)
                return True
        except (amqp.AMQPError, OSError, AssertionError, socket.timeout):
            return False


class Fault:
    """One row.  'make' is called with the scene, and what 'prepare' made of
    it, and makes the fault; 'end', if any, ends it after 'lasts' seconds, and
    the agent is to answer from then on."""

    def __init__(self, name, make, end=None, lasts=0, told=False,
                 by_fanout=False, prepare=None):
        self.name = name
        self.prepare = prepare
        self.make = make
        self.end = end
        self.lasts = lasts
        self.within = TOLD_S if told else UNTOLD_S
        self.by_fanout = by_fanout


class Scene:
    """An agent, its broker, and the path between them."""

    def __init__(self, agent, broker, path=None):
        self.agent, self.broker, self.path = agent, broker, path

    def bus(self):
        return self.agent.ctl_json('status')['bus']

    def counters(self):
        bus = self.bus()
        counters = {name: value for name, value in bus.items()
                    if name.startswith('n_') and name not in (
                        'n_queued', 'n_queued_bytes', 'n_unconfirmed')}
        counters['self-test n_failed'] = bus['self_test']['n_failed']
        return counters

    def is_well(self):
        bus = self.bus()
        return (bus['consuming'] and bus['publishing'] and
                not bus['blocked'] and bus['self_test']['state'] == 'ok')

    def queue(self, prefix):
        return next(each['name'] for each in
                    self.broker.list('queues', 'name', 'consumers')
                    if each['name'].startswith(prefix) and each['consumers'])

    def delete_queue(self, name):
        with Raw(self.broker.url) as raw:
            raw.channel.queue_delete(name)

    def delete_exchange(self, name, kind=None, auto_delete=False):
        """Deletes it; with a 'kind' it is made again, without bindings."""
        with Raw(self.broker.url) as raw:
            raw.channel.exchange_delete(name)
            if kind:
                raw.channel.exchange_declare(name, kind,
                                             auto_delete=auto_delete)

    def close_channel(self):
        """Has the broker close the channel that consumes, with a 406."""
        self.broker.ctl('eval', '''
            [gen_server2:cast(C, {method, {'basic.ack', 4711, false}, none,
                                  noflow})
             || C <- rabbit_channel:list(), proplists:get_value(consumer_count,
                    rabbit_channel:info(C, [consumer_count])) > 3].''')

    def expire_reply_queue(self):
        """The agent is away for longer than its reply queue lives."""
        name = self.queue('reply_')
        self.agent.signal(signal.SIGSTOP)
        self.broker.ctl('close_all_connections', 'for a test')
        wait_for(lambda: name not in self.broker.queues(), 20)
        self.agent.signal(signal.SIGCONT)


HOST = 'faulty'
OWN_QUEUE = 'compute.' + HOST
MEMORY = 'set_vm_memory_high_watermark'
DISK = 'set_disk_free_limit'

FAULTS = (
    Fault('own queue deleted', lambda s: s.delete_queue(OWN_QUEUE), told=True),
    Fault('queue of the topic deleted', lambda s: s.delete_queue('compute'),
          told=True),
    Fault('fanout queue deleted', Scene.delete_queue, told=True,
          by_fanout=True, prepare=lambda s: s.queue('compute_fanout_')),
    Fault('reply queue deleted', Scene.delete_queue, told=True,
          prepare=lambda s: s.queue('reply_')),
    Fault('control exchange deleted', lambda s: s.delete_exchange('nova')),
    Fault('control exchange deleted, made again',
          lambda s: s.delete_exchange('nova', 'topic')),
    Fault('fanout exchange deleted',
          lambda s: s.delete_exchange('compute_fanout'), by_fanout=True),
    Fault('channel closed, 406', Scene.close_channel, told=True),
    Fault('connections closed by the broker',
          lambda s: s.broker.ctl('close_all_connections', 'for a test'),
          told=True),
    Fault('blocked: memory alarm', lambda s: s.broker.ctl(MEMORY, '0.00001'),
          lambda s: s.broker.ctl(MEMORY, '0.4'), BLOCKED_S),
    Fault('blocked: disk alarm', lambda s: s.broker.ctl(DISK, str(10 ** 15)),
          lambda s: s.broker.ctl(DISK, '10MB'), BLOCKED_S),
    Fault('broker stopped, started', lambda s: s.broker.stop(),
          lambda s: s.broker.start(), AWAY_S, told=True),
    Fault('broker killed -9, started', lambda s: s.broker.kill(),
          lambda s: s.broker.start(), AWAY_S),
    Fault('broker hangs (SIGSTOP), goes on', lambda s: s.broker.pause(),
          lambda s: s.broker.resume(), HUNG_S),
)
PATH_FAULTS = (
    Fault('half-open TCP: packets lost', lambda s: s.path.cut(),
          lambda s: s.path.mend(), HUNG_S),
    Fault('path holds everything back', lambda s: s.path.hold(),
          lambda s: s.path.mend(), HUNG_S),
)
EXPIRED = Fault('reply queue expired', Scene.expire_reply_queue, told=True)


def faults(place):
    """Prints a table of them all."""
    rows = []
    broker = Broker(place.directory / 'faults')
    broker.start()
    there = Place(place.directory, broker)
    try:
        with there.agent(HOST) as agent:
            agent.start()
            rows += [measure(Scene(agent, broker), each) for each in FAULTS]
        with Path(broker) as path, there.agent(
                HOST, settings={'transport_url': path.url}) as agent:
            agent.start()
            rows += [measure(Scene(agent, broker, path), each)
                     for each in PATH_FAULTS]
        with there.agent(HOST, settings={'oslo_messaging_rabbit': {
                'rabbit_transient_queues_ttl': 1}}) as agent:
            agent.start()
            rows.append(measure(Scene(agent, broker), EXPIRED))
    finally:
        broker.kill()
    rows += cluster_faults(place)
    table('faults of the bus, and an agent with the options as they are',
          ('fault', 'noticed after', 'answers after', 'at most', 'counted as'),
          rows, 'Answers: since the fault was made, or, where it lasts, since '
          'it was over.')


def measure(scene, fault, url=None):
    """Makes one fault; returns its row."""
    caller = Caller(url or scene.broker.url, HOST, fault.by_fanout)
    wait_for(lambda: scene.is_well() and caller.is_answered(), GIVE_UP_S,
             'an agent that is well, before: ' + fault.name)
    before = scene.counters()
    prepared = [fault.prepare(scene)] if fault.prepare else []
    with concurrent.futures.ThreadPoolExecutor(1) as watcher:
        began = time.monotonic()
        noticed = watcher.submit(
            time_of, lambda: scene.counters() != before, began + GIVE_UP_S)
        fault.make(scene, *prepared)
        over = time.monotonic()
        if fault.end:
            time_of(lambda: False, over + fault.lasts)
            fault.end(scene)
            over = time.monotonic()
        answered = time_of(caller.is_answered, over + GIVE_UP_S)
        noticed = noticed.result()
    wait_for(scene.is_well, GIVE_UP_S, fault.name, LOOK_S)
    after = scene.counters()
    row = (fault.name, seconds(noticed - began), seconds(answered - over),
           '%d s' % fault.within,
           ', '.join('%s +%d' % (name.replace('n_', ''),
                                 after[name] - before[name])
                     for name in after if after[name] != before[name]) or '-')
    print('  ' + '  '.join(row), flush=True)
    return row


def seconds(number):
    """A fault that the broker mends by itself is never noticed."""
    return '-' if number == float('inf') else '%.1f s' % number


def time_of(condition, give_up):
    """When it came true; infinity if it did not."""
    while time.monotonic() < give_up:
        if condition():
            return time.monotonic()
        time.sleep(LOOK_S)
    return float('inf')


def cluster_faults(place):
    """A node is lost that has the queue, or the connections, or both."""
    cluster = Cluster(place.directory / 'cluster')
    rows = []
    try:
        cluster.start()
        first, second, third = cluster.nodes
        for name, settings, queue, lost in (
                ('node lost with the leader of a quorum queue',
                 {'rabbit_quorum_queue': True},
                 {'durable': True, 'arguments': {'x-queue-type': 'quorum'}},
                 second),
                ('node lost with the classic queue', {}, {}, third)):
            with Raw(lost.url) as raw:
                raw.queue(OWN_QUEUE, auto_delete=False, **queue)
            with Place(place.directory, first).agent(
                    HOST, settings={'oslo_messaging_rabbit': settings}
                    ) as agent:
                agent.start()
                rows.append(measure(
                    Scene(agent, first),
                    Fault(name, lambda s, node=lost: node.kill()), first.url))
            with Raw(first.url) as raw:
                raw.channel.queue_delete(OWN_QUEUE)
                raw.channel.queue_delete('compute')
                raw.channel.exchange_delete('nova')
            lost.start()
        rows.append(lose_connections(place, cluster))
    finally:
        cluster.kill()
    return rows


def lose_connections(place, cluster):
    first, second, third = cluster.nodes
    with Place(place.directory, cluster).agent(HOST) as agent:
        agent.start()
        scene = Scene(agent, first)
        wait_for(scene.is_well, GIVE_UP_S)
        port = int(scene.bus()['broker'].rstrip('/').rpartition(':')[2])
        lost = next(node for node in cluster.nodes if node.port == port)
        scene.broker = next(node for node in cluster.nodes if node != lost)
        return measure(scene, Fault('node lost with queue and connection',
                                    lambda s: lost.kill()))
