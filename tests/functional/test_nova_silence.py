"""A destination whose source says nothing any more asks what is recorded.

The source is a nova-compute that the test plays: it does not know what drovers
ask each other, or is away.
"""

import pathlib
import threading

import pytest

from harness.conductor import _conductor, conductor  # noqa: F401
from harness.oslo import Raise
from harness.wait import wait_for
from test_nova_records import control, nova  # noqa: F401


class Silence:
    """Guests of the source that are expected at the destination."""

    def __init__(self, client, control, nova, guests):  # noqa: F811
        self.client, self.control = client, control
        self.source = nova('hosta', guests=guests)
        self.dest = nova('hostb', log_level=['info', 'incoming:debug'])
        self.world = pathlib.Path(self.source.settings['fake']['world'])
        self.uuids = sorted(
            word for line in
            self.source.ctl('fake', 'list').stdout.splitlines()
            for word in line.split()
            if len(word) == 36 and word.count('-') == 4)
        self.migrations = {uuid: self._prepare(uuid) for uuid in self.uuids}
        self.source.kill()

    def _prepare(self, uuid):
        """As far as the destination has answered."""
        made = self.control.create_instance(
            uuid, self.source.host, task_state='migrating', memory=64)
        self.control.begin(uuid)
        migration = self.control.create_migration(made, self.dest.host)
        data = self.control.check(made, self.dest.host)
        self.client.call(
            'pre_live_migration', _server=self.dest.host, _version='6.0',
            _context=self.control.context, _call_monitor_timeout=60,
            instance=made, disk=None, migrate_data=data)
        return migration

    def record(self, uuid, status, task_state='migrating', host=None):
        """What became of it, by the records."""
        made = self.migrations[uuid]
        made['nova_object.data']['status'] = status
        made['nova_object.changes'] = ['status']
        self.migrations[uuid] = self.control.act(made, 'save')
        self.control.conductor.write(
            'UPDATE instances SET task_state = ?, host = ? WHERE uuid = ?',
            task_state, host or self.source.host, uuid)

    def lose(self, uuid):
        """The source's hypervisor has it no more."""
        self._guest(uuid, self.source).unlink()

    def carry(self, uuid):
        """It arrives, and nobody tells of it."""
        there = self._guest(uuid, self.dest)
        there.parent.mkdir(exist_ok=True)
        self._guest(uuid, self.source).rename(there)

    def _guest(self, uuid, host):
        return self.world / host.host / uuid

    @property
    def expected(self):
        """Instances that the destination still waits for."""
        return {op['instance'] for op in self.dest.ctl_json('op', 'list')}

    def wait_expected(self, *uuids):
        wait_for(lambda: self.expected == set(uuids), 30,
                 lambda: '%s are expected, and not %s\n%s' % (
                     self.expected, uuids, self.dest.log_text()))

    def ask(self):
        """The destination asks soon after each start of its own."""
        self.dest.stop()
        self._read = len(self.dest.log_text())
        self.dest.start()

    def tell_arrival(self, uuid):
        """As a source does, but for the host of the instance."""
        instance = self.control.get_instance(uuid)
        del instance['nova_object.data']['host']
        self.client.cast(
            'post_live_migration_at_destination', _server=self.dest.host,
            _version='6.0', _context=self.control.context, instance=instance,
            block_migration=False)

    def wait_said(self, uuid, word):
        """In its log since then."""
        wait_for(lambda: any(
            'inst=' + uuid in line and word in line for line in
            self.dest.log_text()[self._read:].splitlines()), 60,
            lambda: '%s: %s\n%s' % (uuid, word, self.dest.log_text()))


@pytest.fixture
def silence(client, control, nova):  # noqa: F811
    return lambda guests: Silence(client, control, nova, guests)


@pytest.fixture
def nova_compute(oslo_server):
    """In the source's place, and knows nothing of drovers."""
    return lambda host: oslo_server('compute', host, {},
                                    endpoints=((None, '6.1'),))


def test_nova_compute_that_failed_is_not_waited_for(silence, nova_compute):
    """What is over by the records is undone, and nothing else."""
    made = silence(7)
    failed, cancelled, left, error, evacuated, runs, lost = made.uuids
    nova_compute(made.source.host)
    made.ask()
    for uuid in made.uuids:
        made.wait_said(uuid, 'may be open')
    assert made.expected == set(made.uuids)

    for uuid in failed, evacuated, lost:
        made.lose(uuid)
    made.record(failed, 'failed')
    made.record(cancelled, 'cancelled', None)
    made.record(left, 'queued', None)
    made.record(error, 'error')
    made.record(evacuated, 'running', host='elsewhere')
    made.record(runs, 'running')
    made.record(lost, 'error')
    made.ask()
    made.wait_said(runs, 'may be open')
    made.wait_said(lost, 'somebody has to decide')
    made.wait_expected(runs, lost)
    for uuid in failed, cancelled, left, error, evacuated:
        made.wait_said(uuid, 'the preparation is taken back')


def test_guest_that_came_from_a_nova_compute_is_taken_over(silence,
                                                           nova_compute):
    """Its source's last call was lost, and says that it is completed."""
    made = silence(2)
    came, gone = made.uuids
    nova_compute(made.source.host)
    made.dest.stop()
    made.carry(came)
    made.lose(gone)  # It came, and ended before anybody looked.
    for uuid in made.uuids:
        made.record(uuid, 'completed')
    made.dest.start()
    made.ask()
    made.wait_said(gone, 'somebody has to decide')
    made.wait_expected(gone)
    row = made.control.instance(came)
    assert (row['host'], row['task_state'], row['power_state']) == (
        made.dest.host, None, 1)
    assert made.control.instance(gone)['host'] == made.source.host


def test_source_that_is_away_is_looked_up(silence):
    made = silence(2)
    failed, runs = made.uuids
    made.record(failed, 'failed')
    made.record(runs, 'running')
    made.ask()
    made.wait_said(runs, 'may be open')
    made.wait_expected(runs)


def test_source_answers_when_it_is_not_waited_for(silence, oslo_server):
    """What ended the wait says nothing of a source to be looked up."""
    made = silence(1)
    uuid, = made.uuids
    heard = threading.Event()

    def migration_is_open(context, args):
        heard.wait(30)
        raise Raise('NoSuchMethod', module='oslo_messaging.rpc.dispatcher')

    source = oslo_server('compute', made.source.host,
                         {'migration_is_open': migration_is_open},
                         endpoints=((None, '6.1'), ('drover', '1.0')))
    made.carry(uuid)
    made.ask()
    source.wait_for('migration_is_open', 30)
    made.dest.ctl('fake', 'hang', 'persist')
    made.tell_arrival(uuid)
    wait_for(lambda: 'persist' in [op['step'] for op in made.dest.ctl_json(
        'op', 'list')], 30, made.dest.log_text)
    heard.set()
    made.wait_said(uuid, 'not waited for any more')
    made.dest.ctl('fake', 'release', 'persist')
    made.wait_expected()
    assert made.control.instance(uuid)['host'] == made.dest.host
