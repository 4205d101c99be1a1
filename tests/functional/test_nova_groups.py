"""Members of a server group, which may not be where they please.

Numbers in names are those of the acceptance points of a migration.
"""

import json
import uuid as uuids

import pytest

from harness.conductor import _conductor, conductor  # noqa: F401
from harness.oslo import Failure
from harness.wait import wait_for
from test_nova_records import (control, nova, pair, states,  # noqa: F401
                               steer_slow)


def group(control, policy, *members, **rules):  # noqa: F811
    """As a user makes one, and boots servers in it."""
    def write(table, **row):
        return control.conductor.write(
            'INSERT INTO %s (%s) VALUES (%s)' % (
                table, ', '.join(row), ', '.join('?' * len(row))),
            *row.values(), database='api')

    number = write('instance_groups', user_id='u1', project_id='p1',
                   uuid=str(uuids.uuid4()), name=policy)
    write('instance_group_policy', group_id=number, policy=policy,
          rules=json.dumps(rules))
    for member in members:
        write('instance_group_member', group_id=number, instance_uuid=member)


def other(control, host):  # noqa: F811
    """Another instance, which is recorded at a host."""
    uuid = str(uuids.uuid4())
    control.create_instance(uuid, host.host, task_state=None)
    return uuid


def refusal(control, uuid, dest):  # noqa: F811
    """Why it may not go there."""
    control.begin(uuid)
    with pytest.raises(Failure) as caught:
        control.check(control.get_instance(uuid), dest.host)
    assert caught.value.name == 'MigrationPreCheckError'
    return str(caught.value)


def is_accepted(control, uuid, dest):  # noqa: F811
    control.begin(uuid)
    return control.check(control.get_instance(uuid), dest.host)


def test_09_apart(control, pair):  # noqa: F811
    _, hostb, uuid = pair
    group(control, 'anti-affinity', uuid, other(control, hostb))
    why = refusal(control, uuid, hostb)
    assert 'Anti-affinity instance group policy was violated' in why
    assert states(control, uuid) == ('active', None)


def test_09_so_many_at_one_host(control, pair):  # noqa: F811
    _, hostb, uuid = pair
    members = [uuid, other(control, hostb)]
    group(control, 'anti-affinity', *members, max_server_per_host='2')
    assert is_accepted(control, uuid, hostb)
    control.conductor.write(
        'INSERT INTO instance_group_member (group_id, instance_uuid) '
        'SELECT group_id, ? FROM instance_group_member '
        'WHERE instance_uuid = ?', other(control, hostb), uuid,
        database='api')
    assert 'Anti-affinity' in refusal(control, uuid, hostb)


def test_09_apart_from_one_that_is_on_its_way(control, pair):  # noqa: F811
    hosta, hostb, uuid = pair
    guest = other(control, hosta)
    group(control, 'anti-affinity', uuid, guest)
    migration = control.create_migration(
        control.get_instance(guest), hostb.host)
    assert 'Anti-affinity' in refusal(control, uuid, hostb)
    migration['nova_object.data']['status'] = 'failed'
    migration['nova_object.changes'] = ['status']
    control.act(migration, 'save')
    assert is_accepted(control, uuid, hostb)


def test_09_together(control, pair):  # noqa: F811
    hosta, hostb, uuid = pair
    guest = other(control, hosta)
    group(control, 'affinity', uuid, guest)
    why = refusal(control, uuid, hostb)
    assert 'Affinity instance group policy was violated' in why
    control.conductor.write('UPDATE instances SET host = ? WHERE uuid = ?',
                            hostb.host, guest)
    assert is_accepted(control, uuid, hostb)


@pytest.mark.parametrize('policy', ('affinity', 'anti-affinity',
                                    'soft-affinity', 'soft-anti-affinity'))
def test_09_alone_in_its_group(control, pair, policy):  # noqa: F811
    _, hostb, uuid = pair
    group(control, policy, uuid)
    assert is_accepted(control, uuid, hostb)


def test_soft_policy_binds_nobody(control, pair):  # noqa: F811
    _, hostb, uuid = pair
    group(control, 'soft-anti-affinity', uuid, other(control, hostb))
    assert is_accepted(control, uuid, hostb)


def test_groups_are_not_looked_for_if_so_configured(control,  # noqa: F811
                                                    pair):  # noqa: F811
    _, hostb, uuid = pair
    group(control, 'anti-affinity', uuid, other(control, hostb))
    hostb.stop()
    hostb.write_config(workarounds={'disable_group_policy_check_upcall': True})
    hostb.start()
    assert is_accepted(control, uuid, hostb)


def test_09_one_that_came_meanwhile(control, pair):  # noqa: F811
    """The check was good, the preparation is too late: the guest stays."""
    hosta, hostb, uuid = pair
    guest = other(control, hosta)

    def comes_first(_migration, _data):
        group(control, 'anti-affinity', uuid, guest)
        control.conductor.write('UPDATE instances SET host = ? WHERE uuid = ?',
                                hostb.host, guest)

    migration = control.migrate(uuid, hostb.host, arrange=comes_first)
    control.wait_status(migration, 'failed')
    wait_for(lambda: states(control, uuid) == ('active', None), 30,
             lambda: states(control, uuid))
    assert control.instance(uuid)['host'] == hosta.host
    assert uuid not in hostb.ctl('fake', 'list').stdout
    fault = control.row('instance_faults', instance_uuid=uuid)
    assert 'Anti-affinity instance group policy' in fault['message'], fault
