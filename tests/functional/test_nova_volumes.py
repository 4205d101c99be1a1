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
        self.volume = str(uuids.uuid4())
        self.old = cloud.add_attachment(self.volume, self.uuid,
                                        self.hosta.host)
        info = {**cloud._attachment(self.old), 'serial': self.volume}
        info['data'] = info.pop('connection_info')
        info['driver_volume_type'] = info['data']['driver_volume_type']
        self.info = json.dumps(info)
        made = {'instance_uuid': self.uuid, 'source_type': 'volume',
                'destination_type': 'volume', 'volume_id': self.volume,
                'attachment_id': self.old, 'connection_info': self.info,
                'device_name': '/dev/vdb', 'device_type': 'disk',
                'disk_bus': 'virtio', 'boot_index': None, 'volume_size': 1,
                'delete_on_termination': False, 'no_device': False,
                'guest_format': None}
        control.act(novas.primitive('BlockDeviceMapping', '1.21', made,
                                    sorted(made)), 'create')

    @property
    def device(self):
        return self.control.row('block_device_mapping',
                                instance_uuid=self.uuid)

    def migrate(self, *wanted):
        move = self.control.migrate(self.uuid, self.hostb.host)
        self.control.wait_status(move, *wanted)
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


def test_21_volume_is_attached_to_the_host_that_has_the_guest(bench):
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
