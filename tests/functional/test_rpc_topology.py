"""Exchanges, queues and bindings: what is declared, and what if it is not.

Numbers are those of the conformance tests, T1 to T9.
"""

import json
import re
import uuid

import pytest

from harness.echo import echo, own, run_client  # noqa: F401
from harness.oslo import Declarer, Failure
from harness.raw import Raw, envelope
from harness.wait import wait_for

# All that the broker knows, with the types of arguments, in one go.
DUMP = '''
Name = fun({resource, V, _, N}) -> {V, N} end,
Args = fun(T) -> [[K, atom_to_binary(Y), X] || {K, Y, X} <- T] end,
Vhosts = %s,
Queues = lists:append([rabbit_amqqueue:list(V) || V <- Vhosts]),
Exchanges = lists:append([rabbit_exchange:list(V) || V <- Vhosts]),
Bindings = lists:append([rabbit_binding:list(V) || V <- Vhosts]),
Text = rabbit_json:encode([
  [begin {V, N} = Name(amqqueue:get_name(Q)),
     [V, N, amqqueue:is_durable(Q), amqqueue:is_auto_delete(Q),
      Args(amqqueue:get_arguments(Q))] end || Q <- Queues],
  [begin {V, N} = Name(element(2, X)),
     [V, N, element(3, X), element(4, X), element(5, X)] end
   || X <- Exchanges],
  [begin {V, S} = Name(element(2, B)), {_, D} = Name(element(4, B)),
     [V, S, element(3, B), D] end || B <- Bindings],
  [begin {V, N} = Name(amqqueue:get_name(Q)),
     [V, N, Args(element(7, C))] end
   || Q <- Queues, C <- rabbit_amqqueue:consumers(Q)]]),
io:format("~s~n", [Text]).
'''


def erlang(names):
    return '[%s]' % ', '.join('<<"%s">>' % name for name in names)


def plain(name):
    return re.sub('[0-9a-f]{32}', 'HEX', name)


class Topology:
    """What there is in one virtual host, random names made equal."""

    def __init__(self):
        self.queues = {}
        self.exchanges = {}
        self.bindings = set()
        self.consumers = {}

    def __eq__(self, other):
        return self.__dict__ == other.__dict__

    def __repr__(self):
        return json.dumps(
            {name: sorted(each) if isinstance(each, set) else each
             for name, each in self.__dict__.items()}, indent=1)


def dump(broker, vhosts):
    """Their topologies, by name.

    A queue is (durable, auto_delete, arguments), an exchange (type, durable,
    auto_delete); an argument is (type, value).
    """
    queues, exchanges, bindings, consumers = json.loads(
        broker.ctl('eval', DUMP % erlang(vhosts)).splitlines()[0])
    found = {vhost: Topology() for vhost in vhosts}

    def arguments(rows):
        return {name: (kind, value) for name, kind, value in rows}

    for vhost, name, durable, auto_delete, rows in queues:
        found[vhost].queues[plain(name)] = (
            durable, auto_delete, arguments(rows))
    for vhost, name, kind, durable, auto_delete in exchanges:
        if name and not name.startswith('amq.'):
            found[vhost].exchanges[name] = (kind, durable, auto_delete)
    for vhost, source, key, destination in bindings:
        if source:
            found[vhost].bindings.add((source, key, plain(destination)))
    for vhost, name, rows in consumers:
        found[vhost].consumers[plain(name)] = arguments(rows)
    return found


class Vhosts:
    """Parts of the broker with nothing in them yet.

    All are made and deleted at once: each order to the broker takes a second.
    """

    def __init__(self, broker, count):
        self._broker = broker
        self._names = ['empty%d' % n for n in range(count)]
        self._unused = list(self._names)
        broker.ctl('eval', '''
            [begin
               rabbit_vhost:add(V, <<"guest">>),
               rabbit_auth_backend_internal:set_permissions(
                 <<"guest">>, V, <<".*">>, <<".*">>, <<".*">>, <<"guest">>)
             end || V <- %s].''' % erlang(self._names))

    def take(self, count=1):
        """URLs, by name."""
        return {name: self._broker.url + name
                for name in [self._unused.pop() for _ in range(count)]}

    def close(self):
        self._broker.ctl('eval', '''
            [rabbit_vhost:delete(V, <<"guest">>) || V <- %s].'''
            % erlang(self._names))


@pytest.fixture(scope='module')
def vhosts(broker_process):
    broker_process.start()
    made = Vhosts(broker_process, 50)
    yield made
    made.close()


@pytest.fixture
def vhost(vhosts):
    """The URL of an empty one."""
    (url,) = vhosts.take().values()
    return url


@pytest.fixture
def inside(vhost):
    """Publishes any bytes in there."""
    with Raw(vhost) as connection:
        yield connection


def call_own(url, host, method='echo', args='{"value": 1}'):
    return run_client(url, '--version', '6.0', '--to', host, 'call', method,
                      args)


WORKS = [{'ok': True, 'result': 1}]
INT, TEXT = 'signedint', 'longstr'
EXPIRES = {'x-expires': (INT, 1800000)}


def expected(shared=(False, False, {}), transient=(False, False, EXPIRES),
             exchange=(False, False), fanout=False, host='host1', own='HEX',
             fanout_queue=None, consumer=None):
    """What an agent declares, but for what is said here."""
    topology = Topology()
    server = 'compute.' + host
    fanout_queue = fanout_queue or {'compute_fanout_' + own: transient}
    topology.queues = {'compute': shared, server: shared,
                       'reply_' + own: transient, **fanout_queue}
    topology.exchanges = {'nova': ('topic', *exchange),
                          'compute_fanout': ('fanout', fanout, True)}
    topology.bindings = {
        ('nova', 'compute', 'compute'), ('nova', server, server),
        ('compute_fanout', 'compute', next(iter(fanout_queue)))}
    topology.consumers = {name: consumer or {} for name in topology.queues}
    return topology


# ---- T1, T2 ------------------------------------------------------------------

def test_t1_agent_declares_just_what_is_specified(broker, vhosts, droverd):
    (name, url), = vhosts.take().items()
    agent = droverd('host1', start=False)
    agent.write_config(transport_url=url)
    agent.start()
    found = dump(broker, [name])[name]
    # Where its notifications go is no matter of RPC's.
    for queue in [each for each in found.queues if 'notif' in each]:
        del found.queues[queue]
        found.bindings.discard(('nova', queue, queue))
    assert found == expected()


def test_t1_caller_declares_a_reply_queue_and_no_more(broker, vhosts,
                                                      oslo_server):
    (name, url), = vhosts.take().items()
    seen = []

    def look(_context, _args):
        seen.append(dump(broker, [name])[name])
        return 1

    oslo_server('conductor', 'host2', {'look': look}, url=url,
                endpoints=((None, '3.0'),))
    before = dump(broker, [name])[name]
    assert run_client(url, '--topic', 'conductor', '--version', '3.0', 'call',
                      'look', '{}') == WORKS
    (found,) = seen
    assert found.queues.pop('reply_HEX') == (False, False, EXPIRES)
    assert found.consumers.pop('reply_HEX') == {}
    assert found == before
    # It takes its queue along, which real callers do not.
    assert dump(broker, [name])[name] == before


@pytest.mark.parametrize('peer_comes', ['first', 'second'])
def test_t2_real_server_of_another_host_shares_the_topic(
        peer_comes, echo, oslo_server, client):
    def start_peer():
        return oslo_server('compute', 'host2', {
            'who': lambda _context, _args: 'host2'},
            endpoints=((None, '6.1'),))

    if peer_comes == 'first':
        start_peer()
    echo()
    if peer_comes == 'second':
        start_peer()
    for host in ('host1', 'host2'):
        assert client.call('who', _version='6.0', _server=host) == host
    shared = [client.call_async('who', _version='6.0') for _ in range(100)]
    answers = [each.result(60) for each in shared]
    assert 30 <= answers.count('host1') <= 70
    assert set(answers) == {'host1', 'host2'}


def test_t2_calls_of_ours_are_shared_among_real_servers(oslo_server, own):
    servers = [oslo_server('compute', host, {'ping': lambda _context, args:
                                             args['arg']},
                           endpoints=(('baseapi', '1.0'),))
               for host in ('host1', 'host2')]
    (line,) = own('flood', '100', '10')
    assert line['errors'] == 0
    counts = [len(server.requests) for server in servers]
    assert sum(counts) == 100
    assert all(30 <= count <= 70 for count in counts)
    for server, host in zip(servers, ('host1', 'host2')):
        before = len(server.requests)
        assert own('call', 'ping', '{"arg": 1}', to=host, version='1.0',
                   options=('--namespace', 'baseapi')) == WORKS
        assert len(server.requests) == before + 1


# ---- T3, T4: declared otherwise ----------------------------------------------

def warnings_of(service):
    return re.findall(r"WARN\|\|(.* is used as it is: .*)",
                      service.log.read_text())


@pytest.mark.parametrize('what, query, mine, option', [
    ("exchange 'nova'", 'amqp_durable_queues=1', {},
     'amqp_durable_queues or rabbit_quorum_queue'),
    ("exchange 'nova'", 'amqp_durable_queues=0', {'durable': True},
     'amqp_durable_queues or rabbit_quorum_queue'),
    ("exchange 'nova'", 'amqp_auto_delete=0', {'auto_delete': True},
     'amqp_auto_delete'),
    ("exchange 'compute_fanout'", 'amqp_durable_queues=0', {'durable': True},
     'rabbit_transient_quorum_queue')])
def test_t3_exchange_that_is_otherwise_is_used_as_it_is(
        what, query, mine, option, vhost, inside, echo):
    name = what.split("'")[1]
    inside.channel.exchange_declare(
        name, 'fanout' if 'fanout' in name else 'topic',
        **{'auto_delete': 'fanout' in name, 'durable': False, **mine})
    url = '%s?%s' % (vhost, query)
    service = echo('host1', '--check', 1, url=url)
    # As a server and as a client.
    assert call_own(url, 'host1') == WORKS
    (warning,) = warnings_of(service)
    assert warning.startswith(what + ' is used as it is: PRECONDITION_FAILED')
    assert 'change %s here' % option in warning
    assert service.status()['connects'] == 2


@pytest.mark.parametrize('query, queue, option', [
    ('ssl=0', {'durable': True, 'arguments': {'x-queue-type': 'quorum'}},
     'amqp_durable_queues or rabbit_quorum_queue'),
    ('rabbit_quorum_queue=1', {'durable': True}, 'rabbit_quorum_queue'),
    ('ssl=0', {'arguments': {'x-expires': 60000}}, None),
    ('ssl=0', {'auto_delete': True}, 'amqp_auto_delete')])
def test_t4_queue_that_is_otherwise_is_used_as_it_is(
        query, queue, option, vhost, inside, echo):
    inside.queue('compute', **{'auto_delete': False, **queue})
    service = echo(url='%s?%s' % (vhost, query))
    # Without a server name: through the very queue.
    assert run_client(vhost, '--version', '6.0', 'call', 'echo',
                      '{"value": 1}') == WORKS
    (warning,) = [each for each in warnings_of(service)
                  if each.startswith("queue 'compute'")]
    assert 'PRECONDITION_FAILED - inequivalent arg' in warning
    assert ('change %s ' % option if option else 'otherwise') in warning


def test_t3_t4_each_object_is_told_once_and_declared_once(
        broker, vhosts, echo):
    (name, url), = vhosts.take().items()
    with Raw(url) as raw:
        raw.channel.exchange_declare('nova', 'topic', durable=False,
                                     auto_delete=False)
        raw.queue('compute', auto_delete=False)
        raw.queue('compute.host1', auto_delete=False)

        def refusals():
            """As the broker counts them."""
            log = '\n'.join(path.read_text(errors='replace') for path in
                            (broker.directory / 'log').glob('*.log'))
            return log.count("in vhost '%s': received 'true'" % name)

        service = echo('host1', '--check', 1,
                       url=url + '?amqp_durable_queues=1')
        assert [each.split(' is used')[0] for each in warnings_of(service)] \
            == ["exchange 'nova'", "queue 'compute'", "queue 'compute.host1'"]
        # A publisher of the same process finds the exchange, too.
        service.meet(1)
        # All is made sure of again and again, which can be seen from this.
        for _ in range(2):
            raw.channel.queue_unbind('compute', 'nova', 'compute')
            wait_for(lambda: run_client(
                url, '--version', '6.0', '--timeout', '300', 'call', 'echo',
                '{"value": 1}') == WORKS, 30)
        assert len(warnings_of(service)) == 3
        assert refusals() == 3
        assert service.status()['connects'] == 2


def test_t4_what_is_made_anew_is_made_right(vhost, inside, echo):
    inside.queue('compute.host1', auto_delete=False)
    service = echo(url=vhost + '?amqp_durable_queues=1')
    assert len(warnings_of(service)) == 1
    inside.channel.queue_delete('compute.host1')
    wait_for(lambda: inside.has_queue('compute.host1'), 10)
    assert call_own(vhost, 'host1') == WORKS
    # The same again is no mismatch.
    inside.queue('compute.host1', auto_delete=False, durable=True)
    assert len(warnings_of(service)) == 1


# ---- T5: options -------------------------------------------------------------

ROWS = [
    '',
    'amqp_durable_queues=true',
    'amqp_auto_delete=true',
    'amqp_durable_queues=true&amqp_auto_delete=true',
    'rabbit_ha_queues=true',
    'rabbit_ha_queues=true&amqp_durable_queues=true',
    'rabbit_quorum_queue=true',
    'rabbit_quorum_queue=true&rabbit_quorum_delivery_limit=3&'
    'rabbit_quroum_max_memory_length=1000&'
    'rabbit_quroum_max_memory_bytes=100000',
    'rabbit_transient_queues_ttl=77',
    'rabbit_transient_queues_ttl=1',
    'enable_cancel_on_failover=true',
]


def test_t5_declarations_are_those_of_the_peers(broker, vhosts, echo,
                                                run_directory):
    made = vhosts.take(2 * len(ROWS))
    names = list(made)
    theirs, ours = names[::2], names[1::2]
    urls = {name: made[name] + ('?' + row if row else '')
            for pair in (theirs, ours) for name, row in zip(pair, ROWS)}
    services = [echo('host1', url=urls[name], ready=False) for name in ours]
    with Declarer([urls[name] for name in theirs],
                  run_directory / 'declarer.log'):
        for service in services:
            service.wait_for('up')
        found = dump(broker, names)
        for row, their, our in zip(ROWS, theirs, ours):
            assert found[our] == found[their], row
        assert found[ours[0]] == expected()


QUORUM = {'x-queue-type': (TEXT, 'quorum')}
STREAM = {'x-queue-type': (TEXT, 'stream')}
OWN = 'use_queue_manager=1&hostname=nodeA&processname='


# Those that the peers of this version do not have yet.
@pytest.mark.parametrize('query, topology', [
    ('rabbit_transient_quorum_queue=1',
     expected(transient=(True, False, {**QUORUM, **EXPIRES}), fanout=True)),
    ('rabbit_transient_quorum_queue=1&rabbit_quorum_queue=1&'
     'rabbit_quorum_delivery_limit=2',
     expected(shared=(True, False, {**QUORUM, 'x-delivery-limit': (INT, 2)}),
              transient=(True, False, {**QUORUM, **EXPIRES}),
              exchange=(True, False), fanout=True)),
    ('rabbit_transient_queues_ttl=0', expected(transient=(False, False, {}))),
    (OWN + 'p1', expected(own='nodeA:p1:1')),
    (OWN + 'p2&rabbit_transient_quorum_queue=1',
     expected(own='nodeA:p2:1', fanout=True,
              transient=(True, False, {**QUORUM, **EXPIRES})))])
def test_t5_newer_options(query, topology, broker, vhosts, echo):
    (name, url), = vhosts.take().items()
    echo(url='%s?%s' % (url, query))
    assert dump(broker, [name])[name] == topology


STREAM_OPTIONS = ('rabbit_transient_quorum_queue=1&rabbit_stream_fanout=1&'
                  'rabbit_qos_prefetch_count=10')


@pytest.mark.parametrize('ttl, age', [
    (1800, {'x-max-age': (TEXT, '1800s')}), (0, {})])
def test_t5_fanout_as_a_stream(ttl, age, broker, vhosts, echo):
    (name, url), = vhosts.take().items()
    echo(url='%s?%s&rabbit_transient_queues_ttl=%d' % (
        url, STREAM_OPTIONS, ttl))
    found = dump(broker, [name])[name]
    assert found.queues.pop('compute_fanout') == (
        True, False, {**STREAM, **age})
    assert found.bindings >= {('compute_fanout', 'compute', 'compute_fanout')}
    assert found.exchanges['compute_fanout'] == ('fanout', True, True)


@pytest.mark.parametrize('query, says', [
    ('rabbit_ha_queues=1&rabbit_quorum_queue=1', 'rabbit_ha_queues'),
    ('amqp_auto_delete=1&rabbit_quorum_queue=1', 'amqp_auto_delete'),
    ('rabbit_stream_fanout=1&rabbit_qos_prefetch_count=1',
     'rabbit_transient_quorum_queue'),
    ('rabbit_stream_fanout=1&rabbit_transient_quorum_queue=1',
     'rabbit_qos_prefetch_count')])
def test_t5_what_does_not_go_together_is_refused_at_start(
        query, says, droverd):
    agent = droverd(start=False)
    agent.write_config(transport_url=agent.url + '?' + query)
    agent.start(wait=False)
    assert agent.wait() == 1
    assert says in agent.log_text()


@pytest.mark.parametrize('query, count', [
    ('?ssl=0', 64), ('?rabbit_qos_prefetch_count=7', 7)])
def test_t5_prefetch_is_finite_and_can_be_chosen(query, count, broker, vhosts,
                                                 echo):
    (name, url), = vhosts.take().items()
    echo(url=url + query)
    # The same for all consumers, or this is no match.
    assert broker.ctl('eval', '''
        [N] = lists:usort([element(4, C)
                           || Q <- rabbit_amqqueue:list(<<"%s">>),
                              C <- rabbit_amqqueue:consumers(Q)]),
        N.''' % name).strip() == str(count)


def test_t5_names_are_owned_by_one_process(vhost, echo):
    query = '?%s%s' % (OWN, 'n' + uuid.uuid4().hex[:8])

    def number(service):
        return service.status()['reply_queue'].rpartition(':')[2]

    first, second = (echo(host, url=vhost + query)
                     for host in ('host1', 'host2'))
    assert [number(first), number(second)] == ['1', '2']
    for host in ('host1', 'host2'):
        assert call_own(vhost, host) == WORKS
    # Free again, be it by a good end or not.
    first.stop()
    assert number(echo('host1', url=vhost + query)) == '1'
    second.kill()
    assert number(echo('host2', url=vhost + query)) == '2'


# ---- T6, T7 ------------------------------------------------------------------

def test_t6_host_name_with_dots_works(echo, own):
    echo('host.with.dots')
    assert own('call', 'echo', '{"value": 1}', to='host.with.dots') == WORKS


@pytest.mark.parametrize('host', ['host*', '#', 'a.*.b'])
def test_t6_host_name_that_is_a_wildcard_is_refused_at_start(host, droverd):
    agent = droverd('hosta', start=False)
    agent.write_config(host=host)
    agent.start(wait=False)
    assert agent.wait() == 1
    assert "'%s'" % host in agent.log_text()


def own_queues(service):
    reply = service.status()['reply_queue']
    return reply, reply.replace('reply_', 'compute_fanout_')


def fanout_queue(vhost, broker):
    (name,) = [name for name in
               broker.ctl('list_queues', '-p', vhost, 'name').split()
               if name.startswith('compute_fanout_')]
    return name


@pytest.mark.parametrize('query, keeps_fanout', [
    ('', False), ('?%sp3' % OWN, True)])
def test_t7_own_queues_after_a_clean_stop(query, keeps_fanout, broker, vhosts,
                                          echo):
    (name, url), = vhosts.take().items()
    service = echo(url=url + query)
    reply, fanout = (service.status()['reply_queue'],
                     fanout_queue(name, broker))
    service.stop()
    with Raw(url) as raw:
        assert not raw.has_queue(reply)
        assert raw.has_queue(fanout) == keeps_fanout
        assert raw.has_queue('compute.host1')


def test_t7_own_queues_after_a_crash_expire(broker, vhosts, echo):
    (name, url), = vhosts.take().items()
    service = echo(url=url)
    reply, fanout = (service.status()['reply_queue'],
                     fanout_queue(name, broker))
    service.kill()
    with Raw(url) as raw:
        for queue in (reply, fanout):
            # Equal arguments are no error, others would be one.
            raw.queue(queue, auto_delete=False,
                      arguments={'x-expires': 1800000})


# ---- T8 ----------------------------------------------------------------------

def cast_all(raw, *marks):
    for mark in marks:
        raw.publish(envelope({'method': 'sleep', 'args': {
            'seconds': 0, 'mark': mark}, 'version': '6.0',
            '_unique_id': uuid.uuid4().hex}), '', 'compute_fanout',
            content_type='application/json')


def test_t8_stream_is_heard_from_the_start_and_without_a_gap(
        broker, vhosts, echo):
    (name, vhost), = vhosts.take().items()
    url = '%s?%s' % (vhost, STREAM_OPTIONS)

    def marks(service):
        return [line['mark'] for line in service.find('ran')]

    echo('host2', url=url).stop()
    with Raw(vhost) as raw:
        cast_all(raw, 'before')
        service = echo(url=url)
        cast_all(raw, 'one', 'two')
    wait_for(lambda: len(marks(service)) == 2, 20,
             lambda: marks(service))
    # What is sent while it is away is heard when it is back, once.
    service.process.send_signal(19)  # SIGSTOP
    broker.ctl('close_all_connections', '--vhost', name, 'for a test')
    with Raw(vhost) as raw:
        cast_all(raw, 'three')
        service.process.send_signal(18)
        service.wait_for('up', 2, 40)
        cast_all(raw, 'four')
        wait_for(lambda: len(marks(service)) >= 4, 20,
                 lambda: marks(service))
    assert marks(service) == ['one', 'two', 'three', 'four']


# ---- T9 ----------------------------------------------------------------------

def test_t9_fanout_exchange_that_is_gone_is_declared_again(echo, raw):
    service = echo()
    service.meet(1)
    raw.channel.exchange_delete('compute_fanout')
    # The binding went with it; but there is an exchange again, and no error.
    service.meet(0)
    assert raw.has_exchange('compute_fanout')
    assert service.status()['connects'] == 2
    assert 'NOT_FOUND' in service.log.read_text()


def test_t9_fanout_is_delivered_after_the_exchange_was_gone(echo, raw):
    service = echo('host1', '--check', 1)
    service.meet(1)
    raw.channel.exchange_delete('compute_fanout')
    wait_for(lambda: service.meets() == 1, 10)
    assert service.status()['connects'] == 2


def test_t9_real_client_casts_to_all(echo, oslo_client):
    service = echo()
    oslo_client().fanout('sleep', _version='6.0', seconds=0, mark='all')
    wait_for(lambda: service.find('ran'), 10)
