"""Contradictions among hosts, made by hand, named and mended."""

import contextlib
import json
import sqlite3

import pytest

from harness.wait import wait_for
from test_agent import (fake, guests, status, wait_idle, wait_status,
                        world)  # noqa: F401 (a fixture)


@pytest.fixture
def pair(droverd, world):  # noqa: F811
    """hosta, one of whose two guests went to hostb, and hostb."""
    hosta = droverd('hosta', settings=fake(world, 2))
    hostb = droverd('hostb', settings=fake(world))
    hosta.ctl('migrate', sorted(guests(hosta))[0], 'hostb', '--watch')
    wait_idle(hosta, hostb)
    return hosta, hostb


def audit(agent, *words):
    done = agent.ctl('audit', '--json', *words, check=False)
    result = json.loads(done.stdout)
    assert done.returncode == (3 if any(
        not f.get('mended') for f in result['findings']) else 0)
    return result


def findings(agent, *words):
    return [(f['rule'], f['host'], f['mend'])
            for f in audit(agent, *words)['findings']]


@contextlib.contextmanager
def records(agent, table):
    """The objects of a stopped agent, by id; changes are kept."""
    agent.stop()
    path = agent.state_path / 'state.db'
    with contextlib.closing(sqlite3.connect(path)) as connection:
        objects = {number: json.loads(body) for number, body in
                   connection.execute('SELECT id, body FROM ' + table)}
        yield objects
        for number, document in objects.items():
            connection.execute('UPDATE %s SET body = ? WHERE id = ?' % table,
                               (json.dumps(document), number))
        connection.commit()
    agent.start()


def test_hosts_that_agree_have_no_contradictions(pair):
    hosta, hostb = pair
    assert findings(hosta) == findings(hostb) == []
    result = audit(hosta)
    assert sorted(result['hosts']) == ['hosta', 'hostb']
    assert result['silent'] == []
    assert 'none, on 2 hosts' in hosta.ctl('audit').stdout


def test_running_migration_is_no_contradiction(pair):
    hosta, hostb = pair
    name, = guests(hosta)
    hosta.ctl('fake', 'hang', 'transfer')
    hosta.ctl('migrate', name, 'hostb')
    wait_status(hosta, name, 'running')
    assert findings(hosta) == findings(hostb) == []
    hosta.ctl('fake', 'release')
    wait_status(hosta, name, 'completed')


def test_host_that_is_away_is_named_and_not_judged(pair):
    hosta, hostb = pair
    with records(hosta, 'migrations') as objects:
        objects[1]['nova_object.data']['status'] = 'running'
    hostb.kill()
    result = audit(hosta, '--repair')
    assert result['silent'] == ['hostb']
    assert [f['mend'] for f in result['findings']] == [None]
    assert "'hostb' did not answer" in hosta.ctl('audit', check=False).stderr
    hostb.start()
    assert findings(hosta) == [
        ('migration-without-operation', 'hosta', 'set-status')]


def test_migration_and_task_without_operation_are_mended(pair):
    hosta, hostb = pair
    (there,), (here,) = guests(hostb), guests(hosta)
    with records(hosta, 'migrations') as objects:
        objects[1]['nova_object.data']['status'] = 'running'
    with records(hosta, 'instances') as objects:
        for document in objects.values():
            document['nova_object.data']['task_state'] = 'migrating'
    expected = [('migration-without-operation', 'hosta', 'set-status'),
                ('task-without-operation', 'hosta', 'clear-task')]
    assert sorted(findings(hosta)) == expected
    # Only on the host itself.
    assert sorted(findings(hostb, '--repair')) == expected
    assert '--repair there' in hostb.ctl('audit', check=False).stdout
    mended = audit(hosta, '--repair')['findings']
    assert [(f['mended'], f['error']) for f in mended] == [(True, None)] * 2
    assert status(hosta, there) == 'completed'
    assert guests(hosta)[here]['task_state'] is None
    assert findings(hosta) == []
    hosta.ctl('migrate', here, 'hostb', '--watch')


def test_record_of_a_guest_that_moved_is_forgotten(pair):
    hosta, hostb = pair
    (there,), (here,) = guests(hostb), guests(hosta)
    uuid = guests(hostb)[there]['uuid']
    with records(hosta, 'instances') as objects:
        left = json.loads(json.dumps(*objects.values()))
        left['nova_object.data'].update(
            uuid=uuid, display_name=there, task_state='migrating')
        path = hosta.state_path / 'state.db'
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute('INSERT INTO instances VALUES (50, ?, ?)',
                               (uuid, json.dumps(left)))
            connection.commit()
    assert findings(hosta) == [
        ('record-without-guest', 'hosta', 'forget-record')]
    assert findings(hosta, '--repair') == [
        ('record-without-guest', 'hosta', 'forget-record')]
    assert list(guests(hosta)) == [here] and list(guests(hostb)) == [there]
    assert findings(hosta) == []


def test_what_was_prepared_for_nobody_is_taken_back(pair):
    """The source starts without its state, in the middle of a migration."""
    hosta, hostb = pair
    name, = guests(hosta)
    hosta.ctl('fake', 'hang', 'transfer')
    hosta.ctl('migrate', name, 'hostb')
    wait_status(hosta, name, 'running')
    hosta.kill()
    for path in hosta.state_path.glob('state.db*'):
        path.unlink()
    hosta.start()
    wait_for(lambda: name in guests(hosta), 20, 'it is adopted')
    found = findings(hostb, '--repair')
    # Or hostb asked by itself, as it does every 30 s.
    assert found == [('reservation-without-source', 'hostb', 'take-back')] \
        or hostb.ctl_json('op', 'list') == []
    wait_for(lambda: hostb.ctl_json('op', 'list') == [], 20,
             'it is taken back')
    assert findings(hostb) == findings(hosta) == []
    hosta.ctl('migrate', name, 'hostb', '--watch')


def test_disks_without_a_guest_are_named_and_kept(pair, world):  # noqa: F811
    hosta, hostb = pair
    left = (world.parent / 'instances' /
            '11111111-2222-4333-8444-555555555555')
    left.mkdir(parents=True)
    (left / 'disk').write_bytes(b'precious')
    # Both hosts see it: it is named once.
    assert findings(hosta, '--repair') == [
        ('disks-without-guest', 'hosta', None)]
    assert str(left) in hostb.ctl('audit', check=False).stdout
    assert (left / 'disk').read_bytes() == b'precious'


def test_audit_needs_no_broker_for_its_own_host(pair, broker):
    hosta, _ = pair
    broker.stop()
    try:
        assert audit(hosta)['hosts'] == ['hosta']
    finally:
        broker.start()
        wait_for(lambda: hosta.ctl_json('status')['bus']['consuming'], 60,
                 'the bus is back')


def at(world, agent, uuid):  # noqa: F811
    """Where the fake hypervisor of that host keeps the guest."""
    return world / agent.host / uuid


def test_definition_that_a_guest_left_behind_is_removed(pair,
                                                        world):  # noqa: F811
    """As libvirt does that could not be told to."""
    hosta, hostb = pair
    name, = guests(hostb)
    uuid = guests(hostb)[name]['uuid']
    here, there = at(world, hosta, uuid), at(world, hostb, uuid)
    text = there.read_text()
    hostb.ctl('fake', 'guest-stop', uuid)
    wait_for(lambda: there.read_text() != text, 20, 'it is off')
    off = there.read_text()
    hostb.ctl('fake', 'guest-start', uuid)
    here.write_text(off)
    assert findings(hosta) == [('defined-twice', 'hosta', 'undefine')]
    assert findings(hostb, '--repair') == [
        ('defined-twice', 'hosta', 'undefine')]  # Not there.
    assert here.exists()
    assert [f['mended'] for f in audit(hosta, '--repair')['findings']] == [
        True]
    assert not here.exists()
    assert findings(hosta) == findings(hostb) == []
    assert guests(hostb)[name]['vm_state'] == 'active'
    hostb.ctl('migrate', name, 'hosta', '--watch')


def test_definition_of_a_guest_that_was_started_since_is_kept(
        pair, world):  # noqa: F811
    """It is twice then, and nobody but the operator ends one of them."""
    hosta, hostb = pair
    name, = guests(hostb)
    uuid = guests(hostb)[name]['uuid']
    here, there = at(world, hosta, uuid), at(world, hostb, uuid)
    here.write_text(there.read_text())
    found = findings(hosta, '--repair')
    assert {rule for rule, _, _ in found} == {'runs-twice'}
    assert {mend for _, _, mend in found} == {None}
    assert here.exists() and there.exists()


def test_guest_that_nobody_told_of_is_adopted(pair, world):  # noqa: F811
    hosta, _ = pair
    name, = guests(hosta)
    uuid = guests(hosta)[name]['uuid']
    other = '11111111-2222-4333-8444-555555555556'
    text = at(world, hosta, uuid).read_text()
    assert name in text
    at(world, hosta, other).write_text(text.replace(name, 'stranger'))
    assert findings(hosta) == [('guest-without-record', 'hosta', 'adopt')]
    assert 'stranger' not in guests(hosta)
    assert [f['mended'] for f in audit(hosta, '--repair')['findings']] == [
        True]
    wait_for(lambda: 'stranger' in guests(hosta), 20, 'it is adopted')
    assert guests(hosta)['stranger']['uuid'] == other
    assert findings(hosta) == []
