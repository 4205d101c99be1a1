"""What tests/bench/soak does to agents, brokers, libvirt and networks.

An act is done at once.  What it leaves broken is brought up again later, by
Team.mends().
"""

import collections

# What an entry of the fake driver may be told to fail.
FAKE_OPS = ('guest_get', 'peer_presence', 'prepare', 'unprepare', 'migrate',
            'transfer', 'persist', 'discard', 'job_get', 'guest_list',
            'migrate_abort')

# is_kill: ends an agent; then what it was about to tell may be told twice.
# is_cut: takes messages away.
Act = collections.namedtuple('Act', 'name weight is_kill is_cut run')
ACTS = {'fake': [], 'real': []}


def act(weight, teams=('fake', 'real'), is_kill=False, is_cut=False):
    def add(function):
        for team in teams:
            ACTS[team].append(Act(function.__name__.replace('_', ' '), weight,
                                  is_kill, is_cut, function))
        return function
    return add


def choose(team):
    acts = ACTS[team.name]
    return team.random.choices(acts, [one.weight for one in acts])[0]


def may_end(team):
    return [host for host in team.agents if host not in team.steady]


def one_of(team, moves, which):
    """The host of a move that can be ended; else any that can."""
    hosts = [host for host in (getattr(move, which) for move in moves)
             if host not in team.steady]
    return team.random.choice(hosts or may_end(team))


# ---- Agents -----------------------------------------------------------------

@act(6, is_kill=True)
def kill_a_source(team, moves):
    return kill(team, one_of(team, moves, 'source'))


@act(6, is_kill=True)
def kill_a_destination(team, moves):
    return kill(team, one_of(team, moves, 'dest'))


@act(3, is_kill=True)
def kill_all_agents(team, _moves):
    return kill(team, *may_end(team))


def kill(team, *hosts):
    for host in hosts:
        team.kill(host)
    return ', '.join(hosts)


@act(3, is_kill=True)
def kill_twice(team, moves):
    """In the middle of taking up again what it had begun."""
    host = one_of(team, moves, team.random.choice(('source', 'dest')))
    team.kill(host)
    team.start(host)
    team.pause(0, 0.6)
    team.kill(host)
    return host


@act(3, is_kill=True)
def stop_an_agent(team, moves):
    """In good order: what runs is left to the hypervisor."""
    host = one_of(team, moves, team.random.choice(('source', 'dest')))
    agent = team.agents[host]
    if (agent.is_running and host not in team.frozen and
            agent.ctl('status', check=False).returncode == 0):
        agent.stop(60)
    return host


@act(4)
def freeze_an_agent(team, moves):
    host = getattr(team.random.choice(moves),
                   team.random.choice(('source', 'dest')))
    team.freeze(host)
    return host


# ---- The broker and the network ---------------------------------------------

@act(2, is_cut=True)
def kill_the_broker(team, _moves):
    team.broker.kill()


@act(2, is_cut=True)
def restart_the_broker(team, _moves):
    if team.broker.is_running:
        team.broker.resume()
        team.broker.stop(300)
        team.broker.launch()


@act(2, is_cut=True)
def hang_the_broker(team, _moves):
    if team.broker.is_running:
        team.broker.pause()


# From about 12 s to the end of libvirt's keep-alive, some 30 s, its own
# connection between the hosts may end after it started the guest there and
# before the source hears of it, which then lets it run on as well ("a small
# chance", says qemuMigrationSrcPerformPeer2Peer3 of libvirt 9.0).  So it is cut
# for less or for longer than that.

@act(4, teams=('real',), is_cut=True)
def cut_the_network(team, _moves):
    return cut(team, 0.5, 8)


@act(1, teams=('real',), is_cut=True)
def cut_the_network_for_long(team, _moves):
    return cut(team, 40, 45)


def cut(team, least_s, most_s):
    host = team.random.choice(team.hosts)
    if team.was_cut:  # Once a round: two of them may add up.
        return host + ', not again'
    team.was_cut = True
    team.link(host, 'down')
    team.pause(least_s, most_s)
    team.link(host, 'up')
    return host


# ---- Hypervisors ------------------------------------------------------------

@act(3, teams=('real',))
def kill_libvirtd(team, _moves):
    return end_libvirtd(team, 'kill')


@act(2, teams=('real',))
def stop_libvirtd(team, _moves):
    return end_libvirtd(team, 'stop')


def end_libvirtd(team, order):
    host = team.random.choice(team.hosts)
    if host not in team.down:
        team.libvirtd(host, order)
    return host


@act(4, teams=('fake',))
def let_the_hypervisor_fail(team, moves):
    host = getattr(team.random.choice(moves),
                   team.random.choice(('source', 'dest')))
    op = team.random.choice(FAKE_OPS)
    team.steer(host, 'fail', op)
    return '%s at %s' % (op, host)


@act(2, teams=('fake',))
def lose_the_hypervisors_answer(team, moves):
    host = team.random.choice(moves).source
    team.steer(host, 'outcome', 'lose-answer')
    return host


@act(2, teams=('fake',))
def disconnect_the_hypervisor(team, moves):
    host = getattr(team.random.choice(moves),
                   team.random.choice(('source', 'dest')))
    team.steer(host, 'disconnect')
    team.apart.add(host)
    return host


# ---- The operator -----------------------------------------------------------

@act(5)
def abort_a_migration(team, moves):
    return ask(team, moves, 'abort')


@act(2)
def force_a_migration(team, moves):
    return ask(team, moves, 'force-complete')


def ask(team, moves, verb):
    move = team.random.choice(moves)
    agent = team.alive()
    if agent:
        team.ask(agent, 'migration', verb, move.guest)
    return move.guest
