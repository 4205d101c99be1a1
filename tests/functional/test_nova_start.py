"""How an agent in nova-compute's place starts, as the conductor sees it."""

import json
import pathlib

import pytest

from harness.conductor import _conductor, conductor  # noqa: F401
from harness.raw import opened
from test_nova_records import control, nova, service  # noqa: F401

CAPTURE = (pathlib.Path(__file__).resolve().parents[1] / 'corpus' / 'nova' /
           'startup.jsonl')

# What nova-compute asks for at its first start ever and drover does not, in
# the words of said(), and why.
NOT_ASKED = {
    "InstanceList.get_by_host(['flavor', 'system_metadata'])":
        'it records no machine types of instances that lack one',
    'ComputeNode.get_by_host_and_nodename': 'it reports no resources yet',
    'ComputeNodeList.get_all_by_host': 'it reports no resources yet',
    'ComputeNode.create': 'it reports no resources yet',
    'ComputeNode.save': 'it reports no resources yet',
    'PciDeviceList.get_by_compute_node': 'it reports no resources yet',
    'InstanceList.get_by_host_and_node': 'it reports no resources yet',
    'MigrationList.get_in_progress_and_error': 'it reports no resources yet',
}

# And the other way round.
ONLY_ASKED = {
    'InstanceList.get_by_host([])':
        'power states are compared at once, and not after up to a minute',
}


@pytest.fixture
def overheard(raw):
    """What is sent to the conductor, from here on."""
    queue = raw.queue(auto_delete=False, exclusive=True)
    raw.channel.queue_bind(queue, 'nova', 'conductor')
    return lambda is_last: [opened(message.body) for message in
                            raw.read_until(queue, is_last, 60)]


def said(message):
    """One call, in a word; None for those by which versions are learnt."""
    args = message['args']
    if message['method'] == 'object_class_action_versions':
        if any(int(version.split('.')[1]) > 500
               for version in args['object_versions'].values()):
            return None
        attributes = args['kwargs'].get('expected_attrs')
        return '%s.%s%s' % (args['objname'], args['objmethod'],
                            '(%s)' % attributes
                            if args['objmethod'] == 'get_by_host' else '')
    if message['method'] == 'object_action':
        return '%s.%s' % (args['objinst']['nova_object.name'],
                          args['objmethod'])
    return '%s(%s)' % (message['method'], json.dumps(args, sort_keys=True))


def shape(message, host):
    """The arguments, without what is another in each run."""
    args = json.loads(json.dumps(message['args']).replace(host, 'HOST'))
    made = args.get('objinst')
    if made:
        for name in ('id', 'uuid', 'created_at', 'updated_at', 'last_seen_up'):
            made['nova_object.data'].pop(name, None)
        made['nova_object.changes'].sort()
    return args


def test_start_is_that_of_nova_compute(client, conductor,  # noqa: F811
                                       overheard, nova):  # noqa: F811
    """Call by call, byte by byte; differences have a reason, above."""
    theirs = [json.loads(line) for line in CAPTURE.read_text().splitlines()]
    agent = nova()
    ours = overheard(lambda message: said(opened(message.body)) ==
                     'Service.save')
    ours = [message for message in ours if said(message)]

    left_out = [said(message) for message in theirs
                if said(message) in NOT_ASKED]
    assert set(left_out) == set(NOT_ASKED)
    added = {said(message) for message in ours if said(message) in ONLY_ASKED}
    assert added == set(ONLY_ASKED)
    theirs = [message for message in theirs if said(message) not in NOT_ASKED]
    ours = [message for message in ours if said(message) not in ONLY_ASKED]

    # The last is asked once more of by the report of resources.
    assert said(theirs[-2]) == 'Service.get_by_compute_host'
    del theirs[-2]
    assert [said(message) for message in ours] == [
        said(message) for message in theirs]
    for our, their in zip(ours, theirs):
        assert shape(our, agent.host) == shape(their, 'hostB')
        assert our.get('version') == their['version']
        assert our.get('namespace') == their.get('namespace')


def test_start_waits_for_a_conductor_and_for_a_cell_it_fits(
        client, conductor, control, nova):  # noqa: F811
    """One that comes later is waited for; one cell is too old."""
    other = nova('hostb')
    agent = nova('hosta', start=False)
    conductor.kill()
    agent.start(wait=False)
    agent.wait_told('STATUS', 'Waiting for nova-conductor.')
    conductor.start()
    conductor.wait_ready(client)
    agent.wait_ready(60)
    agent.stop()

    conductor.kill()
    conductor.write('UPDATE services SET version = 60 WHERE host = ?',
                    other.host)
    agent.start(wait=False)
    conductor.start()
    conductor.wait_ready(client)
    assert agent.wait(60) == 1
    assert 'of version 60' in agent.log_text()
    agent.write_config(
        workarounds={'disable_compute_service_check_for_ffu': True})
    agent.start(timeout=60)
    assert service(control, agent.host)['version'] == 64
