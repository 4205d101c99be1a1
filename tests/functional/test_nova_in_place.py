"""A host in nova-compute's place, beside what the other services do.

Numbers in names are those of the acceptance points of such a host.
"""

import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
import uuid as uuids

import pytest

from harness import nova as novas
from harness.conductor import _conductor, conductor  # noqa: F401
from harness.oslo import Failure
from harness.rest_cloud import RestCloud
from harness.wait import wait_for
from test_nova_records import (control, guest_of, nova, pair,  # noqa: F401
                               service, wait_beats)
from test_nova_resources import OFTEN, node, wait_node


@pytest.fixture
def cloud():
    with RestCloud() as made:
        yield made


# ---- Placement ----------------------------------------------------------------

class Provider:
    """What Placement has of an agent, which tells of it each second."""

    def __init__(self, control, nova, cloud, **settings):  # noqa: F811
        self.control, self.cloud = control, cloud
        self.agent = nova(**OFTEN, **cloud.settings('placement'), **settings)
        self.uuid = wait_node(control, self.agent.host)['uuid']

    def fact(self, what):
        return self.cloud.fact(self.uuid, what)

    def wait_round(self):
        """Until some more have gone by."""
        asked = '^/resource_providers/%s/allocations' % self.uuid
        before = len(self.cloud.asked('GET', asked))
        wait_for(lambda: len(self.cloud.asked('GET', asked)) > before + 2, 30,
                 'it looks after its allocations')

    def set_enabled(self, enabled):
        return self.control.client.call(
            'set_host_enabled', _server=self.agent.host, _version='6.0',
            _context=novas.context(is_admin=True), enabled=enabled)


DISABLED = 'COMPUTE_STATUS_DISABLED'


def test_05_traits_of_an_operator_stay(control, nova, cloud):  # noqa: F811
    made = Provider(control, nova, cloud)
    wait_for(lambda: made.fact('traits'), 30, 'its traits')
    cloud.add_trait(made.uuid, 'CUSTOM_RACK_7')
    made.wait_round()
    # It writes them all.
    made.set_enabled(False)
    wait_for(lambda: DISABLED in made.fact('traits'), 30, 'it is disabled')
    assert 'CUSTOM_RACK_7' in made.fact('traits')
    made.set_enabled(True)
    wait_for(lambda: DISABLED not in made.fact('traits'), 30, 'it is enabled')
    made.agent.restart()
    made.wait_round()
    assert 'CUSTOM_RACK_7' in made.fact('traits')


@pytest.mark.parametrize('times', [3, 5])
def test_06_conflicts_in_placement(control, nova, cloud, times):  # noqa: F811
    """Of three nobody hears; after more the next round writes it."""
    refused = cloud.refuse['PUT', '/inventories'] = [409] * times
    made = Provider(control, nova, cloud)
    wait_for(lambda: made.fact('inventories'), 30, 'its inventories')
    assert set(made.fact('inventories')) == {'VCPU', 'MEMORY_MB', 'DISK_GB'}
    assert refused == []
    gave_up = "what this host has can't be told" in made.agent.log_text()
    assert gave_up == (times == 5), made.agent.log_text()
    # And no more of it.
    before = len(cloud.asked('PUT', '/inventories'))
    made.wait_round()
    assert len(cloud.asked('PUT', '/inventories')) == before


# ---- Starts -------------------------------------------------------------------

def test_07_what_is_down_at_the_start_is_waited_for(
        control, nova, cloud):  # noqa: F811
    """libvirt and all services of the cloud; for the conductor there is
    test_07_start_waits_for_a_conductor."""
    for method in 'GET', 'PUT', 'POST':
        cloud.refuse[method, ''] = 503
    agent = nova(start=False, guests=1, **OFTEN,
                 **cloud.settings('neutron', 'placement'))
    down = (pathlib.Path(agent.settings['fake']['world']) / '.down' /
            agent.host)
    down.parent.mkdir()
    down.write_text('')
    agent.start(wait=False)
    wait_for(lambda: agent.log.exists() and 'hypervisor' in agent.log_text(),
             30, 'it looks for its hypervisor')
    agent.ctl('fake', 'connect')
    agent.wait_ready(60)
    wait_node(control, agent.host)
    wait_beats(control, agent.host)
    assert cloud.providers == {}
    cloud.refuse.clear()
    uuid = node(control, agent.host)['uuid']
    wait_for(lambda: cloud.fact(uuid, 'inventories'), 60,
             'Placement knows it')
    assert not service(control, agent.host)['disabled']


def test_08_fresh_host_is_mapped(control, conductor, nova,  # noqa: F811
                                 broker, tmp_path):
    """nova-manage does it; the conductor is to know of no cell, so that it has
    another API database."""
    configuration = tmp_path / 'nova.conf'
    text = (conductor.directory / 'nova.conf').read_text()
    configuration.write_text(text.replace(
        '%s/api.db' % conductor.directory, '%s/api.db' % tmp_path))
    shutil.copy(conductor.directory / 'api.db', tmp_path)

    def manage(*words):
        done = subprocess.run(
            [sys.executable, '-c', 'from nova.cmd import manage; manage.main()',
             '--config-file', configuration, 'cell_v2', *words], check=False,
            cwd=tmp_path, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout
        return done.stdout

    agent = nova()
    assert node(control, agent.host)['mapped'] == 0
    manage('create_cell', '--name', 'cell1', '--transport-url', broker.url,
           '--database_connection', 'sqlite:///%s/nova.db' % conductor.directory)
    assert agent.host in manage('discover_hosts', '--verbose')
    assert node(control, agent.host)['mapped'] == 1


def test_09_two_hundred_guests_and_a_restart(control, nova):  # noqa: F811
    n = 200
    agent = nova(guests=n)
    world = pathlib.Path(agent.settings['fake']['world']) / agent.host
    found = sorted(path.name for path in world.iterdir()
                   if path.name.count('-') == 4)
    assert len(found) == n
    for uuid in found:
        control.create_instance(uuid, agent.host, task_state=None, memory=64)
    before = {uuid: (world / uuid).read_text() for uuid in found}
    agent.kill()
    # Asked for while it is away.
    asked = [control.client.call_async(
        'get_diagnostics', _server=agent.host, _version='6.0',
        _context=novas.context(is_admin=True),
        instance=novas.instance(uuid, agent.host)) for uuid in found[:20]]
    agent.start(timeout=30)
    for answer in asked:
        assert answer.result(60)
    assert {uuid: (world / uuid).read_text() for uuid in found} == before
    assert not control.conductor.rows(
        "SELECT uuid FROM instances WHERE host = ? AND (task_state NOT NULL "
        "OR vm_state != 'active' OR power_state != 1)", agent.host)


# ---- What comes in -------------------------------------------------------------

def test_15_nonsense_is_refused_and_nothing_else(
        client, control, nova, raw):  # noqa: F811
    agent = nova()

    def refused(method, version='6.0', **args):
        with pytest.raises(Failure) as caught:
            client.call(method, _server=agent.host, _version=version,
                        _context=novas.context(), **args)
        return caught.value.name

    queue = 'compute.' + agent.host
    large = novas.instance(str(uuids.uuid4()), agent.host,
                           display_name='x' * (10 << 20))
    assert refused('no_such_thing') == 'NoSuchMethod'
    assert refused('get_host_uptime', '7.0') == 'UnsupportedVersion'
    assert refused('check_instance_shared_storage') == 'TypeError'
    assert refused('get_diagnostics', instance=large) == 'InstanceNotFound'
    raw.publish(b'{"oslo.version": "2.0", "oslo.mess', queue)
    wait_for(lambda: 'message rejected' in agent.log_text(), 30,
             'it says what it thinks of it')
    assert 'load average' in client.call(
        'get_host_uptime', _server=agent.host, _version='6.0')


def test_18_migration_outlives_its_broker(control, broker, pair):  # noqa: F811
    """Also what it has to say at its end, which is said once."""
    hosta, hostb, uuid = pair
    hosta.ctl('fake', 'hang', 'transfer')
    move = control.migrate(uuid, hostb.host)
    control.wait_status(move, 'running')
    queues = of_compute(broker, hosta, hostb)
    assert len(queues) == 3
    broker.restart()
    control.conductor.wait_ready(control.client)
    hosta.ctl('fake', 'release')
    control.wait_status(move, 'completed', 'failed', 'error', deadline=120)
    assert control.status(move) == 'completed'
    row = control.instance(uuid)
    assert (row['host'], row['task_state']) == (hostb.host, None)
    assert of_compute(broker, hosta, hostb) == queues
    ends = [event for event in control.events(uuid)
            if event[0] == 'compute_post_live_migration_at_destination']
    assert len(ends) == 1


def of_compute(broker, *agents):
    """How the queues were declared that hosts are asked by."""
    names = {'compute', *('compute.' + agent.host for agent in agents)}
    return {row['name']: row for row in broker.list(
        'queues', 'name', 'durable', 'auto_delete', 'arguments')
        if row['name'] in names}


# ---- Under way ----------------------------------------------------------------

def test_14_ping_is_answered_during_five_migrations(
        control, nova):  # noqa: F811
    settings = {'max_concurrent_live_migrations': 5}
    hosta = nova('hosta', guests=5, **settings)
    hostb = nova('hostb', **settings)
    hosta.ctl('fake', 'bandwidth', '1')
    world = pathlib.Path(hosta.settings['fake']['world']) / hosta.host
    moves = []
    for path in world.iterdir():
        if path.name.count('-') == 4:
            control.create_instance(path.name, hosta.host, task_state=None,
                                    memory=64)
            moves.append(control.migrate(path.name, hostb.host))
    assert len(moves) == 5
    for move in moves:
        control.wait_status(move, 'running')

    def ping(host):
        start = time.monotonic()
        control.client.call('ping', arg='x', _server=host, _version='1.0',
                            _namespace='baseapi')
        return time.monotonic() - start

    for agent in hosta, hostb:
        wait_for(lambda: statistics.median(
            ping(agent.host) for _ in range(20)) < 0.05, 30,
            'a ping within 50 ms')
    assert {control.status(move) for move in moves} == {'running'}


def test_20_moves_leave_nothing_behind(control, pair):  # noqa: F811
    """A few of them, of what is to be so after a week."""
    hosta, hostb, uuid = pair
    where = [hosta, hostb]

    def move(times):
        for _ in range(times):
            control.wait_status(control.migrate(uuid, where[1].host),
                                'completed')
            where.reverse()
        for agent in where:
            wait_for(lambda: agent.ctl_json('op', 'list') == [], 30,
                     'nothing is open')

    def held(agent):
        return len(os.listdir('/proc/%d/fd' % agent.pid))

    move(2)
    before = [held(agent) for agent in where]
    move(8)
    assert guest_of(hosta) == uuid
    for agent, n in zip(where, before):
        wait_for(lambda: held(agent) <= n, 30, lambda: '%s holds %d, not %d' % (
            agent.host, held(agent), n))
