"""Calls: how many, how fast, and what is left of them in memory."""

import contextlib
import itertools
import pathlib
import statistics
import subprocess

import bodies
from harness.process import bound
from place import PROGRAMS, result_of, settled_memory_of, table

RPC_RATIO = 0.7
RPC_P50_RATIO = 1.5
RPC_P99_MS = 10
N_CONNECTIONS = 2

N_ROUNDS = 5
CALLS = {1: 2000, 8: 6000, 64: 10000}

# Calls after which memory is looked at, in parts of all.
FLAT_POINTS = (0.01, 0.1, 0.25, 0.5, 1)
# What the allocator may keep more at the end than at half time.
FLAT_MIB = 0.5


def requests_of(agent):
    return (bodies.ping(), bodies.claim(),
            bodies.shared_storage(agent.settings['instances_path']))


@contextlib.contextmanager
def echo(place, queue, result):
    process = subprocess.Popen(
        bound([PROGRAMS['echo'], place.broker.address, place.broker.port,
               queue, result]),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b'ready\n'
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def cpu_seconds(pid):
    """Of all threads of a process."""
    return sum(int(path.read_text().split()[0]) for path in
               pathlib.Path('/proc/%d/task' % pid).glob('*/schedstat')) / 1e9


def rpc(place):
    with place.agent(settings={'fake': {'guests': 100}}) as agent:
        agent.start()
        print_connections(place, agent)
        for request in requests_of(agent):
            with echo(place, 'echo-' + request.name,
                      request.result) as echo_pid:
                servers = {'echo': ('echo-' + request.name, echo_pid),
                           'droverd': ('compute.' + agent.host, agent.pid)}
                rows = list(itertools.chain.from_iterable(
                    rpc_rows(place, request, servers, in_flight, calls)
                    for in_flight, calls in CALLS.items()))
            table('Calls of "%s", %.1f kB, medians of %d rounds' % (
                request.name, len(request.body) / 1000, N_ROUNDS),
                ('in flight', 'server', 'calls/s', 'ratio', 'target',
                 'p50 ms', 'ratio', 'target', 'p99 ms', 'target',
                 'CPU us/call'), rows)


def print_connections(place, agent):
    """As the broker counts them."""
    channels = [
        connection['channels'] for connection in place.broker.list(
            'connections', 'client_properties', 'channels')
        if 'droverd:%s' % agent.host in str(connection['client_properties'])]
    print('\nThe agent has %d connections (target: %d) with %d channels '
          '(target: %d)' % (len(channels), N_CONNECTIONS, sum(channels),
                            N_CONNECTIONS))


def one_round(place, request, servers, in_flight, calls):
    results = {}
    for name, (key, pid) in servers.items():
        before = cpu_seconds(pid)
        results[name] = result_of(place.load(key, in_flight, calls, [request]))
        # The load sends a tenth more to warm the server up.
        results[name]['cpu_us'] = (cpu_seconds(pid) - before) * 1e6 / (
            1.1 * calls)
    return results


def rpc_rows(place, request, servers, in_flight, calls):
    """By turns, so that both see the same machine."""
    rounds = [one_round(place, request, servers, in_flight, calls)
              for _ in range(N_ROUNDS)]

    def median(server, what):
        return statistics.median(one[server][what] for one in rounds)

    def ratio(what):
        return statistics.median(one['droverd'][what] / one['echo'][what]
                                 for one in rounds)

    for server in servers:
        is_ours = server == 'droverd'
        yield (in_flight, server, '%.0f' % median(server, 'per_s'),
               '%.2f' % ratio('per_s') if is_ours else '',
               '>= %.2f' % RPC_RATIO if is_ours and in_flight == 64 else '',
               '%.2f' % median(server, 'p50_ms'),
               '%.2f' % ratio('p50_ms') if is_ours else '',
               '<= %.2f' % RPC_P50_RATIO if is_ours and in_flight == 1 else '',
               '%.2f' % median(server, 'p99_ms'),
               '<= %d' % RPC_P99_MS if is_ours and in_flight == 64 else '',
               '%.0f' % median(server, 'cpu_us'))


def flat(place):
    """Calls of both kinds by turns, 64 in flight, to one agent."""
    rows = []
    with place.agent(settings={'fake': {'guests': 100}}) as agent:
        agent.start()
        idle = settled_memory_of(agent.pid)
        rows.append((0, *('%.2f' % value for value in idle), ''))
        done, memory = 0, [idle]
        for point in FLAT_POINTS:
            # With the tenth that warms up it is as many as wanted.
            calls = int((point * place.n_calls - done) / 1.1)
            per_s = result_of(place.load(
                'compute.' + agent.host, 64, calls, requests_of(agent)),
                3600)['per_s']
            done = int(point * place.n_calls)
            memory.append(settled_memory_of(agent.pid))
            rows.append((done, *('%.2f' % value for value in memory[-1]),
                         '%.0f' % per_s))
    grown = memory[-1][1] - memory[-2][1]
    table('Memory after so many calls, ping and instance by turns',
          ('calls', 'resident MiB', 'private dirty MiB', 'calls/s'), rows,
          'private dirty memory from half of them on: %+.2f MiB '
          '(target: <= %.1f MiB)' % (grown, FLAT_MIB))
