"""Images that a destination lacks, and where it gets them from.

Numbers in names are those of the acceptance points.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import struct
import threading
import uuid as uuids

import pytest

from harness import nova as novas
from harness.conductor import _conductor, conductor  # noqa: F401
from harness.oslo import Failure
from harness.rest_cloud import RestCloud
from harness.wait import wait_for
from test_nova_records import nova  # noqa: F401


class Bench:
    """A destination; what its source says is said by the test."""

    def __init__(self, client, nova, cloud, **settings):  # noqa: F811
        self.client, self.cloud = client, cloud
        self.source, self.dest = (
            nova(name, **cloud.settings('glance'), **settings)
            for name in ('hosta', 'hostb'))
        self.instances = self.dest.settings['instances_path']

    def prepare(self, image, base=None, host=None, told=None, _timeout=60,
                **more):
        """Has a guest expected whose disk is based on it, or on that file.

        'told' is the format of that, which only drover tells.
        """
        uuid = str(uuids.uuid4())
        host = host or self.dest
        instance = novas.instance(uuid, self.source.host, image_ref=image,
                                  **more)
        data = novas.primitive('LibvirtLiveMigrateData', '1.10', {
            'block_migration': True, 'is_shared_instance_path': False,
            'is_shared_block_storage': False, 'is_volume_backed': False,
            'filename': 'tmpabc', 'image_type': 'default',
            'instance_relative_path': uuid, 'vifs': []})
        disk = {'path': '%s/%s/disk' % (self.instances, uuid), 'type': 'qcow2',
                'virt_disk_size': 1 << 20, 'disk_size': 1 << 16,
                'backing_file': base or cache_name(image),
                'over_committed_disk_size': 0}
        if told:
            disk['backing_format'] = told
        self.last = {'instance': instance, 'migrate_data': data}
        return self.client.call(
            'pre_live_migration', _server=host.host, _version='6.0',
            _timeout=_timeout, _context=novas.context(),
            disk=json.dumps([disk]), **self.last)

    def prepare_in_vain(self, image):
        with contextlib.suppress(Failure):
            self.prepare(image, _timeout=20)

    def roll_back(self):
        """The guest whose preparation was asked for last does not come."""
        self.client.cast(
            'rollback_live_migration_at_destination', _version='6.0',
            _server=self.dest.host, _context=novas.context(),
            destroy_disks=True, **self.last)

    def steps(self):
        return [op['step'] for op in self.dest.ctl_json('op', 'list')]

    def refused(self, image, **more):
        with pytest.raises(Failure) as refusal:
            self.prepare(image, **more)
        assert not self.cached and not self.prepared
        return refusal.value

    def lost(self, data):
        """An image that only the source's cache still has."""
        image = self.cloud.add_image(data)
        self.prepare(image, host=self.source)
        del self.cloud.images[image]
        return image

    def files(self, agent, part):
        """Those with that in their path: {name: what they are}."""
        lines = [line.split(None, 2) for line in agent.ctl(
            'fake', 'list').stdout.splitlines() if line.startswith('file ')]
        return {path.rpartition('/')[2]: text for _, path, text in lines
                if part in path}

    @property
    def cached(self):
        return self.files(self.dest, '/_base/')

    @property
    def prepared(self):
        return self.files(self.dest, '/disk')

    def n_downloads(self, image):
        return len(self.cloud.asked('GET', '/images/%s/file$' % image))


def cache_name(image):
    return hashlib.sha1(image.encode()).hexdigest()


def qcow2(size):
    """As much of one as is looked at."""
    return b'QFI\xfb' + struct.pack('>IQIIQI', 2, 0, 0, 16, size, 0) + bytes(99)


@pytest.fixture
def bench(client, conductor, nova):  # noqa: F811
    with RestCloud() as cloud:
        yield Bench(client, nova, cloud)


def test_14_image_is_fetched_once(bench):
    data = bytes(range(256)) * 1000
    image = bench.cloud.add_image(data)
    bench.prepare(image)
    assert bench.cached == {cache_name(image): 'image %d' % len(data)}
    assert bench.prepared
    bench.prepare(image)
    assert bench.n_downloads(image) == 1


def test_14_image_of_two_at_once_is_fetched_once(bench):
    image = bench.cloud.add_image(b'x' * 100000)
    bench.dest.ctl('fake', 'hang', 'image_keep')
    callers = [threading.Thread(target=bench.prepare, args=(image,))
               for _ in range(2)]
    for caller in callers:
        caller.start()
    wait_for(lambda: bench.steps() == ['fetch-images'] * 2, 30,
             'both wait for it')
    bench.dest.ctl('fake', 'release')
    for caller in callers:
        caller.join()
    assert bench.cached
    assert bench.n_downloads(image) == 1


def test_roll_back_does_not_wait_for_an_image(bench):
    """It comes all the same, and is of use to the next one."""
    image = bench.cloud.add_image(b'x' * 100000)
    bench.dest.ctl('fake', 'hang', 'image_keep')
    caller = threading.Thread(target=bench.refused, args=(image,))
    caller.start()
    wait_for(lambda: bench.steps() == ['fetch-images'], 30, 'it is fetched')
    bench.roll_back()
    wait_for(lambda: not bench.steps(), 30, bench.steps)
    caller.join()
    bench.dest.ctl('fake', 'release')
    wait_for(lambda: bench.cached, 30, 'the image is in the cache')
    bench.prepare(image)
    assert bench.n_downloads(image) == 1


def test_agent_stops_while_an_image_is_waited_for(bench):
    image = bench.cloud.add_image(b'x' * 100000)
    bench.dest.ctl('fake', 'hang', 'image_keep')
    callers = [threading.Thread(target=bench.prepare_in_vain, args=(image,))
               for _ in range(2)]
    for caller in callers:
        caller.start()
    wait_for(lambda: bench.steps() == ['fetch-images'] * 2, 30,
             'both wait for it')
    bench.dest.stop()
    bench.dest.start()
    wait_for(lambda: not bench.steps(), 30, bench.steps)
    assert not bench.prepared
    for caller in callers:
        caller.join()


@pytest.mark.parametrize('lie', [
    {'os_hash_value': '0' * 128}, {'size': 99999},
    {'os_hash_algo': 'none', 'checksum': 'd41d8cd98f00b204e9800998ecf8427e'}])
def test_image_that_is_not_what_glance_says_is_not_taken(bench, lie):
    image = bench.cloud.add_image(b'x' * 100000, **lie)
    refusal = bench.refused(image)
    assert refusal.name == 'ImageUnacceptable'
    assert image in str(refusal)


def test_15_image_that_glance_lost_comes_from_the_source(bench):
    image = bench.lost(b'x' * 70)
    bench.prepare(image)
    assert bench.cached == {cache_name(image): 'image 70'}
    assert bench.prepared


def test_base_that_is_no_image_comes_from_the_source(bench):
    """As the file system of an ephemeral disk is not the same on any host."""
    base = cache_name(bench.lost(b'x' * 90))
    image = bench.cloud.add_image(b'y' * 1000)
    bench.prepare(image, base=base)
    assert bench.cached == {base: 'image 90'}
    assert bench.n_downloads(image) == 0


def test_image_that_nobody_has_is_told_as_glance_does(bench):
    image = str(uuids.uuid4())
    refusal = bench.refused(image)
    assert refusal.name == 'ImageNotFound'
    assert image in str(refusal)
    assert "is copied from '%s'" % bench.source.host in bench.dest.log_text()


def open_images(agent):
    """Files without a name that it has open, as the fake makes them."""
    paths = pathlib.Path('/proc/%d/fd' % agent.pid).iterdir()
    return [path for path in paths
            if os.path.lexists(path) and 'memfd:' in os.readlink(path)]


def test_image_that_there_is_no_room_for_is_asked_of_nobody_else(bench):
    image = bench.lost(b'x' * 70)
    bench.cloud.images[image] = ({'id': image, 'status': 'active',
                                  'disk_format': 'raw'}, b'x' * 70)
    bench.dest.ctl('fake', 'full')
    refusal = bench.refused(image)
    assert refusal.name == 'NovaException'
    assert 'write what comes' in refusal.message
    assert 'is copied from' not in bench.dest.log_text()
    assert bench.n_downloads(image) == 2
    wait_for(lambda: not open_images(bench.dest), 5, 'its file is closed')


def test_half_an_image_gives_way_to_one_from_the_source(bench):
    image = bench.lost(b'x' * 70)
    bench.cloud.images[image] = ({'id': image, 'status': 'active',
                                  'disk_format': 'raw'}, b'x' * 70)
    bench.cloud.refuse['GET', image + '/file'] = 404
    bench.dest.ctl('fake', 'hang', 'image_copy')
    caller = threading.Thread(target=bench.prepare, args=(image,))
    caller.start()
    wait_for(lambda: 'is copied from' in bench.dest.log_text(), 30, 'it is')
    wait_for(lambda: not open_images(bench.dest), 5, 'its file is closed')
    bench.dest.ctl('fake', 'release')
    caller.join()
    assert bench.cached == {cache_name(image): 'image 70'}


def test_image_larger_than_the_disk_is_refused(bench):
    refusal = bench.refused(bench.cloud.add_image(b'x' * (2 << 20)))
    assert refusal.name == 'ImageUnacceptable'


@pytest.mark.parametrize('force_raw', [True, False])
def test_image_is_kept_as_nova_compute_keeps_it(client, conductor, nova,
                                                force_raw):
    with RestCloud() as cloud:
        bench = Bench(client, nova, cloud, force_raw_images=force_raw)
        image = cloud.add_image(qcow2(4096), disk_format='qcow2')
        other = cloud.add_image(b'x' * 100, disk_format='vdi')
        bench.prepare(image)
        bench.prepare(other)
        assert bench.cached == {
            cache_name(image): 'image 4096' + ('' if force_raw else
                                               ' as qcow2'),
            cache_name(other): 'image 100'}


@pytest.mark.parametrize('told,kept', [('raw', ''), ('qcow2', ' as qcow2')])
def test_image_is_kept_as_the_source_has_it(bench, told, kept):
    image = bench.cloud.add_image(qcow2(4096), disk_format='qcow2')
    bench.prepare(image, told=told)
    assert bench.cached == {cache_name(image): 'image 4096' + kept}


def test_base_that_is_not_of_the_format_of_the_source_is_refused(bench):
    image = bench.cloud.add_image(qcow2(4096), disk_format='qcow2')
    bench.prepare(image)
    with pytest.raises(Failure) as refusal:
        bench.prepare(image, told='qcow2')
    assert "is said to be 'qcow2', and is not" in refusal.value.message
    assert len(bench.prepared) == 1


def test_instance_with_a_kernel_of_its_own_is_refused(bench):
    refusal = bench.refused(bench.cloud.add_image(b'x'),
                            kernel_id=str(uuids.uuid4()))
    assert 'kernel and ramdisk images are not fetched' in refusal.message
