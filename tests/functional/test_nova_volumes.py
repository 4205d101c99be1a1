"""Volumes of instances that move: Cinder's attachments and Nova's records."""

import json
import uuid as uuids

import pytest

from harness import nova as novas
from harness.conductor import _conductor, conductor  # noqa: F401
from harness.rest_cloud import RestCloud
from harness.wait import wait_for
from test_nova_records import control, guest_of, nova  # noqa: F401


class Bench:
    """Two hosts, and on the first a guest with a volume."""

    def __init__(self, control, nova, cloud):  # noqa: F811
        self.control, self.cloud = control, cloud
        self.hosta = nova('hosta', guests=1, **cloud.settings('cinder'))
        self.hostb = nova('hostb', **cloud.settings('cinder'))
        self.uuid = guest_of(self.hosta)
        control.create_instance(self.uuid, self.hosta.host, task_state=None,
                                memory=64)
        self.volume, self.old, self.info = self.add_volume('/dev/vdb')

    def add_volume(self, device):
        """Another one, attached: volume, attachment, and what Nova knows."""
        volume = str(uuids.uuid4())
        old = self.cloud.add_attachment(volume, self.uuid, self.hosta.host)
        info = {**self.cloud._attachment(old), 'serial': volume}
        info['data'] = info.pop('connection_info')
        info['driver_volume_type'] = info['data']['driver_volume_type']
        made = {'instance_uuid': self.uuid, 'source_type': 'volume',
                'destination_type': 'volume', 'volume_id': volume,
                'attachment_id': old, 'connection_info': json.dumps(info),
                'device_name': device, 'device_type': 'disk',
                'disk_bus': 'virtio', 'boot_index': None, 'volume_size': 1,
                'delete_on_termination': False, 'no_device': False,
                'guest_format': None}
        self.control.act(novas.primitive('BlockDeviceMapping', '1.21', made,
                                         sorted(made)), 'create')
        return volume, old, json.dumps(info)

    @property
    def device(self):
        """The newest."""
        return self.control.row('block_device_mapping',
                                instance_uuid=self.uuid)

    def begin(self, *wanted):
        move = self.control.migrate(self.uuid, self.hostb.host)
        self.control.wait_status(move, *wanted)
        return move

    def migrate(self, *wanted):
        self.begin(*wanted)
        wait_for(lambda: self.control.instance(self.uuid)['task_state'] is None,
                 30, 'the instance is free')

    def assert_as_before(self):
        wait_for(lambda: set(self.cloud.attachments) == {self.old}, 30,
                 lambda: 'attachments are %s' % self.cloud.attachments)
        assert self.device['attachment_id'] == self.old
        assert json.loads(self.device['connection_info']) == json.loads(
            self.info)
        assert self.control.instance(self.uuid)['host'] == self.hosta.host


@pytest.fixture
def bench(control, nova):  # noqa: F811
    with RestCloud() as cloud:
        yield Bench(control, nova, cloud)


def test_21_37_volume_is_attached_to_the_host_that_has_the_guest(bench):
    bench.migrate('completed')
    wait_for(lambda: bench.old not in bench.cloud.attachments, 30,
             'the source\'s attachment is gone')
    (name, made), = bench.cloud.attachments.items()
    assert made['host'] == bench.hostb.host
    assert made['completed']
    assert made['connector']['mountpoint'] == '/dev/vdb'
    assert made['connector']['os_type'] == 'linux'
    assert bench.device['attachment_id'] == name
    info = json.loads(bench.device['connection_info'])
    assert info['serial'] == bench.volume
    assert info['data']['for_host'] == bench.hostb.host


def test_11_both_hosts_are_attached_while_the_guest_moves(bench):
    bench.hosta.ctl('fake', 'hang', 'transfer')
    move = bench.begin('running')
    hosts = {made['host']: name
             for name, made in bench.cloud.attachments.items()}
    assert set(hosts) == {bench.hosta.host, bench.hostb.host}
    assert hosts[bench.hosta.host] == bench.old
    new = hosts[bench.hostb.host]
    assert bench.device['attachment_id'] == new
    info = json.loads(bench.device['connection_info'])
    assert (info['serial'], info['data']['for_host']) == (
        bench.volume, bench.hostb.host)
    bench.hosta.ctl('fake', 'release')
    bench.control.wait_status(move, 'completed')


def test_12_second_volume_that_fails_takes_the_first_one_back(bench):
    _, second, info = bench.add_volume('/dev/vdc')
    # From the second on, however often it is tried.
    bench.cloud.refuse['POST', '/attachments'] = (
        lambda: 500 if len(bench.cloud.attachments) > 2 else None)
    bench.migrate('failed')
    wait_for(lambda: set(bench.cloud.attachments) == {bench.old, second}, 30,
             lambda: 'attachments are %s' % bench.cloud.attachments)
    assert len(bench.cloud.asked('DELETE', '^/attachments/')) == 1
    first, last = bench.control.rows('block_device_mapping',
                                     instance_uuid=bench.uuid)
    assert (first['attachment_id'], last['attachment_id']) == (bench.old,
                                                               second)
    assert json.loads(first['connection_info']) == json.loads(bench.info)
    assert json.loads(last['connection_info']) == json.loads(info)
    assert bench.control.instance(bench.uuid)['host'] == bench.hosta.host


def test_45_attachment_that_can_not_be_deleted_is_deleted_later(bench):
    bench.cloud.refuse['DELETE', '/attachments/'] = 500
    bench.migrate('completed')
    wait_for(lambda: [op for op in bench.hosta.ctl_json('op', 'list')
                      if op['residue']], 60,
             lambda: 'operations are %s' % bench.hosta.ctl_json('op', 'list'))
    assert bench.old in bench.cloud.attachments
    bench.cloud.refuse.clear()
    op, = bench.hosta.ctl_json('op', 'list')
    bench.hosta.ctl('op', 'retry', str(op['op']))
    wait_for(lambda: bench.old not in bench.cloud.attachments, 30,
             'it is deleted')
    wait_for(lambda: bench.hosta.ctl_json('op', 'list') == [], 30,
             'nothing is left')


def test_volume_that_can_not_be_connected_there_stays(bench):
    bench.cloud.volume_type = 'unheard-of'
    bench.migrate('failed')
    assert bench.cloud.asked('POST', '^/attachments$')
    bench.assert_as_before()


def test_volume_comes_back_with_a_guest_that_did_not_go(bench):
    bench.hosta.ctl('fake', 'fail', 'migrate', 'MIGRATION')
    bench.migrate('failed')
    assert 'running' in bench.hosta.log_text()
    bench.assert_as_before()


def test_cinder_that_fails_leaves_nothing_behind(bench):
    bench.cloud.refuse['POST', '/action'] = 500
    bench.migrate('failed')
    bench.cloud.refuse.clear()
    bench.assert_as_before()


def test_attachment_that_is_gone_already_is_deleted(bench):
    """A second try, or Cinder itself, was there before."""
    del bench.cloud.attachments[bench.old]
    bench.migrate('completed')
    wait_for(lambda: bench.cloud.asked('DELETE', bench.old), 30,
             'it is deleted')
    (_, made), = bench.cloud.attachments.items()
    assert made['host'] == bench.hostb.host
