"""Versioned objects, with a real nova-conductor at the other end."""

import copy
import json
import os
import pathlib
import re
import subprocess
import sys
import uuid

import pytest
from oslo_utils import timeutils

from harness.conductor import _conductor, conductor  # noqa: F401
from harness.echo import echo, own  # noqa: F401
from harness.oslo import Failure
from harness.raw import opened
from harness.wait import wait_for

HERE = pathlib.Path(__file__).resolve().parent
TABLE = HERE.parents[1] / 'rpc' / 'object_versions.def'
INCOMPATIBLE = 'IncompatibleObjectVersion'


def primitive(name, version, changes=None, /, **data):
    made = {'nova_object.name': name, 'nova_object.namespace': 'nova',
            'nova_object.version': version, 'nova_object.data': data}
    if changes:
        made['nova_object.changes'] = changes
    return made


def data_of(made):
    return made['nova_object.data']


def new_service(host, of='1.22', /, **more):
    data = {'host': host, 'binary': 'nova-compute', 'topic': 'compute',
            'report_count': 0, 'disabled': False, 'version': 64, **more}
    return primitive('Service', of, sorted(data), **data)


@pytest.fixture
def act(own, conductor):  # noqa: F811
    """Runs a method of an object; returns the object as it is then."""
    def run(made, method, *options, **words):
        line, = own('object', json.dumps(made), method, json.dumps(words),
                    options=options)
        assert line['ok'], line
        return line['result']['object']

    return run


@pytest.fixture
def get(own, conductor):  # noqa: F811
    """Runs a class method; returns its result."""
    def run(name, method, *args, options=()):
        line, = own('class', name, method, json.dumps({'args': args}),
                    options=options)
        assert line['ok'], line
        return line['result']

    return run


@pytest.fixture
def overheard(raw):
    """What is sent to the conductor, from here on."""
    queue = raw.queue(auto_delete=False, exclusive=True)
    raw.channel.exchange_declare('nova', 'topic', durable=False,
                                 auto_delete=False)
    raw.channel.queue_bind(queue, 'nova', 'conductor')

    class Overheard:
        def read(self, count):
            return [opened(message.body)
                    for message in raw.read(queue, count)]

        def depth(self):
            return raw.depth(queue)

    return Overheard()


@pytest.fixture
def host():
    return 'host-' + uuid.uuid4().hex[:8]


def look(client, made, **words):
    """What the service of ours sees of an object that it is sent."""
    return client.call('look', object=made, _version='6.0', _server='host1',
                       **words)


# ---- The table --------------------------------------------------------------

def test_table_of_objects_is_that_of_nova(conductor):  # noqa: F811
    """Run harness.nova_objects to see what is to be written."""
    text = re.sub(r'/\*.*?\*/', '', TABLE.read_text(), flags=re.S)
    text = re.sub(r'"\s*\n\s*"', '', text)
    ours = re.sub(r',\s*\n\s*"', ', "', text).split('\n')
    novas = subprocess.run(
        [sys.executable, '-m', 'harness.nova_objects'], cwd=HERE, check=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    assert [row for row in ours if row] == novas.splitlines()


# ---- O1 to O3: an object and its rows ---------------------------------------

def test_o1_service_is_created_read_and_saved(act, get, conductor,  # noqa: F811
                                              host):
    def row():
        rows = conductor.rows('SELECT * FROM services WHERE host = ?', host)
        assert len(rows) == 1
        return rows[0]

    made = act(new_service(host), 'create')
    assert data_of(made)['id'] == row()['id']
    assert data_of(made)['uuid'] == row()['uuid']
    assert data_of(made)['created_at'].endswith('Z')
    assert 'nova_object.changes' not in made

    read = get('Service', 'get_by_compute_host', host)
    assert read['nova_object.version'] == '1.22'
    assert data_of(read)['uuid'] == data_of(made)['uuid']
    assert 'nova_object.changes' not in read

    data_of(read).update(report_count=5, disabled=True,
                         disabled_reason='repair')
    read['nova_object.changes'] = ['report_count', 'disabled',
                                   'disabled_reason']
    saved = act(read, 'save')
    assert 'nova_object.changes' not in saved
    assert data_of(saved)['report_count'] == 5
    assert data_of(saved)['last_seen_up'].endswith('Z')
    assert data_of(saved)['updated_at'].endswith('Z')
    assert (row()['report_count'], row()['disabled_reason']) == (5, 'repair')


def test_o1_failures_keep_their_class(own, conductor, act,  # noqa: F811
                                      host):
    def failure(*words):
        line, = own(*words)
        return line['class'], line['module'], line['message']

    assert failure('class', 'Service', 'get_by_compute_host',
                   '{"args": ["nowhere"]}') == (
        'ComputeHostNotFound', 'nova.exception',
        'Compute host nowhere could not be found.')
    assert failure('class', 'Service', 'leap')[:2] == (
        'AttributeError', 'builtins')
    made = act(new_service(host), 'create')
    assert failure('object', json.dumps(made), 'create')[:2] == (
        'ObjectActionError', 'nova.exception')


def test_o1_own_compute_node_is_created_and_saved(act, get,  # noqa: F811
                                                  conductor, host):
    service = act(new_service(host), 'create')
    data = {'service_id': data_of(service)['id'], 'host': host,
            'hypervisor_hostname': host, 'uuid': str(uuid.uuid4()),
            'vcpus': 8, 'memory_mb': 2048, 'local_gb': 100, 'vcpus_used': 0,
            'memory_mb_used': 0, 'local_gb_used': 0,
            'hypervisor_type': 'QEMU', 'hypervisor_version': 7002000,
            'cpu_info': '{}', 'host_ip': '10.0.0.7', 'stats': {'a': '1'},
            'supported_hv_specs': [
                primitive('HVSpec', '1.2', arch='x86_64', hv_type='kvm',
                          vm_mode='hvm')]}
    node = act(primitive('ComputeNode', '1.19', sorted(data), **data),
               'create')
    assert 'nova_object.changes' not in node
    data_of(node)['memory_mb_used'] = 512
    node['nova_object.changes'] = ['memory_mb_used']
    assert data_of(act(node, 'save'))['memory_mb_used'] == 512
    read = get('ComputeNode', 'get_by_host_and_nodename', host, host)
    assert data_of(read)['memory_mb_used'] == 512
    assert data_of(read)['host_ip'] == '10.0.0.7'


def test_o2_saving_what_is_unchanged_writes_nothing(act, get,  # noqa: F811
                                                    conductor, host):
    act(new_service(host), 'create')
    before = conductor.rows('SELECT * FROM services WHERE host = ?', host)
    read = get('Service', 'get_by_compute_host', host)
    assert act(read, 'save') == read
    # What a row says without a change marked is not written, either.
    data_of(read)['report_count'] = 77
    act(read, 'save')
    assert conductor.rows('SELECT * FROM services WHERE host = ?',
                          host) == before


def test_o3_absent_is_not_null(act, get, host):
    act(new_service(host), 'create')
    read = get('Service', 'get_by_compute_host', host)
    assert data_of(read)['disabled_reason'] is None
    assert data_of(read)['updated_at'] is None
    # Nobody has looked for it, and so it is not there.
    del data_of(read)['last_seen_up']
    data_of(read)['report_count'] = 1
    read['nova_object.changes'] = ['report_count']
    saved = act(read, 'save')
    assert data_of(saved)['disabled_reason'] is None
    assert 'compute_node' not in data_of(saved)


# ---- O4: newer objects come in ----------------------------------------------

def instance(of='2.7', /, **more):
    return primitive('Instance', of, ['hidden', 'host', 'novelty'],
                     uuid=str(uuid.uuid4()), host='host1', hidden=True,
                     novelty=[1], task_state=None, **more)


def test_o4_newer_instance_is_made_older_once(echo, client,  # noqa: F811
                                              conductor, overheard):
    echo('host1', '--conductor', '--own', 'Instance=2.5')
    seen = look(client, instance(), _context={'odd': 1})
    assert seen['version'] == '2.5'
    assert data_of(seen['object'])['host'] == 'host1'
    assert data_of(seen['object'])['task_state'] is None
    assert not {'hidden', 'novelty', 'id'} & set(data_of(seen['object']))

    learn, ask = overheard.read(2)
    assert learn['method'] == 'object_class_action_versions'
    assert ask['method'] == 'object_backport_versions'
    assert ask['args']['object_versions']['Instance'] == '2.5'
    assert ask['_context_odd'] == 1
    assert overheard.depth() == 0


def test_o4_newer_object_within_is_made_older(echo, client,  # noqa: F811
                                              conductor, overheard):
    echo('host1', '--conductor', '--own', 'Flavor=1.1')
    flavor = primitive('Flavor', '1.2', id=1, name='f', description='new')
    for made in (instance(flavor=flavor), {'a': [flavor]}):
        if 'a' in made:
            seen = client.call('echo', value=made, _version='6.0',
                               _server='host1')['a'][0]
        else:
            seen = data_of(look(client, made)['object'])['flavor']
        assert seen['nova_object.version'] == '1.1'
        assert data_of(seen) == {'id': 1, 'name': 'f'}


def test_o4_fix_of_our_version_needs_no_conductor(echo, client,  # noqa: F811
                                                  conductor, overheard):
    echo('host1', '--conductor')
    assert look(client, instance('2.7.3'))['version'] == '2.7'
    assert look(client, instance('2.3'))['version'] == '2.3'
    assert overheard.depth() == 0


@pytest.mark.parametrize('version', ['2.8', '2.99.1', '3.0', '1.9'])
def test_o4_what_no_one_understands_fails_the_call(
        version, echo, client, conductor, overheard):  # noqa: F811
    echo('host1', '--conductor')
    with pytest.raises(Failure) as failed:
        look(client, instance(version))
    assert failed.value.name == INCOMPATIBLE
    # The conductor is asked for its version at most: it must not be sent
    # what is newer than it is.
    assert overheard.depth() <= 1
    assert conductor.ping(client)


def test_o4_conductor_that_hangs_fails_the_call(echo, client,  # noqa: F811
                                                conductor):
    echo('host1', '--conductor', '--own', 'Instance=2.5', '--timeout', 1000)
    with conductor.paused():
        with pytest.raises(Failure) as failed:
            look(client, instance())
        assert failed.value.name == 'MessagingTimeout'
        # Others are served all the same.
        assert look(client, instance('2.5'))['version'] == '2.5'

    def is_helpful_again():
        try:
            return look(client, instance())['version'] == '2.5'
        except Failure:
            return False

    wait_for(is_helpful_again, 30)


def test_o4_stop_while_the_conductor_is_asked(echo, client,  # noqa: F811
                                              conductor, overheard):
    service = echo('host1', '--conductor', '--own', 'Instance=2.5', '--grace',
                   500)
    look(client, instance())
    overheard.read(2)
    with conductor.paused():
        call = client.call_async('look', object=instance(), _version='6.0',
                                 _server='host1')
        assert overheard.read(1)[0]['method'] == 'object_backport_versions'
        assert service.stop()['requests'] == 2
        with pytest.raises(Failure) as failed:
            call.result(30)
        assert 'is stopping' in failed.value.message
    assert conductor.ping(client)


def test_o4_without_a_conductor_newer_is_taken_as_it_is(
        echo, client):  # noqa: F811
    echo('host1')
    made = instance('2.99', flavor=primitive('Flavor', '1.9', id=1, new=None))
    seen = look(client, copy.deepcopy(made))
    assert seen['version'] == '2.99'
    assert seen['object'] == made


# ---- O5: an older conductor -------------------------------------------------

def test_o5_conductor_is_never_sent_what_is_newer(act, get,  # noqa: F811
                                                  conductor, client,
                                                  overheard, host):
    newer = ('--own', 'Service=1.99')
    made = act(new_service(host, '1.99'), 'create', *newer)
    assert data_of(made)['id']
    learn, create = overheard.read(2)
    assert learn['method'] == 'object_class_action_versions'
    assert create['args']['objinst']['nova_object.version'] == '1.22'
    read = get('Service', 'get_by_compute_host', host, options=newer)
    assert read['nova_object.version'] == '1.22'
    learn, ask = overheard.read(2)
    assert ask['args']['object_versions']['Service'] == '1.22'
    assert overheard.depth() == 0
    assert conductor.ping(client)


def test_o5_other_major_version_is_not_sent(own, conductor,  # noqa: F811
                                            client, overheard, host):
    line, = own('object', json.dumps(new_service(host, '2.0')), 'create',
                options=('--own', 'Service=2.0'))
    assert line['class'] == INCOMPATIBLE
    overheard.read(1)
    assert overheard.depth() == 0
    assert conductor.ping(client)


def test_o5_older_of_us_is_given_what_it_asks_for(get, act,  # noqa: F811
                                                  host):
    act(new_service(host), 'create')
    read = get('Service', 'get_by_compute_host', host,
               options=('--own', 'Service=1.20'))
    assert read['nova_object.version'] == '1.20'
    assert 'uuid' not in data_of(read)


# ---- O6: much ---------------------------------------------------------------

def peak_of(service):
    """The most memory that it ever had, in bytes."""
    status = pathlib.Path('/proc/%d/status' % service.process.pid).read_text()
    return int(re.search(r'VmHWM:\s+(\d+) kB', status).group(1)) << 10


def test_o6_list_object_of_10000_in_bounded_memory(echo, client):  # noqa: F811
    # What a sanitizer keeps of freed memory is no measure of anything.
    service = echo(environment={'ASAN_OPTIONS': ':'.join(
        (os.environ.get('ASAN_OPTIONS', ''), 'quarantine_size_mb=1'))})
    services = [new_service('host%d' % i, id=i, last_seen_up=None)
                for i in range(10000)]
    size = len(json.dumps(services))

    def tally():
        assert client.call(
            'tally', objects=primitive('ServiceList', '1.19',
                                       objects=services),
            _version='6.0', _server='host1') == 10000

    idle = peak_of(service)
    tally()
    assert peak_of(service) - idle < 100 * size
    tally()
    some = peak_of(service)
    for _ in range(3):
        tally()
    assert peak_of(service) - some < 20 * size


# ---- O7: forms of values ----------------------------------------------------

FORMS = [
    '2026-01-02T03:04:05Z', '2026-01-02T03:04:05', '2026-01-02 03:04:05',
    '2026-01-02T03:04:05.000000', '2026-01-02T03:04:05.000Z',
    '2026-01-02T03:04:05+00:00', '2026-01-02T05:04:05+02:00',
    '2026-01-01T21:34:05-05:30', '2026-01-02T05:04:05+0200',
    '2026-01-02 05:04:05+02', '20260102T030405Z', '2026-1-2T03:04:05Z',
    '2026-01-02T03:04:05,000']


@pytest.mark.parametrize('form', FORMS)
def test_o7_forms_of_a_point_in_time(form):
    assert timeutils.normalize_time(timeutils.parse_isotime(
        form)).isoformat() == '2026-01-02T03:04:05'


def test_o7_all_forms_of_a_point_in_time_are_one(echo, client):  # noqa: F811
    echo()
    forms = {'f%d' % i: form for i, form in enumerate(FORMS)}
    seen = look(client, primitive('Odd', '1.0', **forms))
    assert seen['instants'] == dict.fromkeys(forms, 1767323045000000)


def test_o7_points_in_time_are_sent_in_one_form(act, conductor,  # noqa: F811
                                                host):
    made = act(new_service(host), 'create')
    data_of(made)['last_seen_up'] = '2026-01-02 05:04:05.75+02:00'
    made['nova_object.changes'] = ['last_seen_up']
    act(made, 'save')
    row, = conductor.rows('SELECT * FROM services WHERE host = ?', host)
    assert row['last_seen_up'].startswith('2026-01-02 03:04:05')


@pytest.mark.parametrize('field, value', [
    ('last_seen_up', 'now'), ('created_at', 'tomorrow'), ('created_at', 5),
    ('id', 'abc'), ('report_count', ''), ('version', [1])])
def test_o7_what_is_no_value_of_its_field_fails_the_call(
        field, value, echo, client):  # noqa: F811
    echo()
    with pytest.raises(Failure) as failed:
        look(client, primitive('Service', '1.22', **{field: value}))
    assert failed.value.name == 'ValueError'


def test_o7_numbers_may_come_as_strings(echo, client):  # noqa: F811
    echo()
    seen = look(client, primitive('Service', '1.22', id='12',
                                  report_count=' -3 ', version=64))
    assert seen['integers'] == {'id': 12, 'report_count': -3, 'version': 64}
    assert data_of(seen['object'])['id'] == 12


@pytest.mark.parametrize('missing', [
    'nova_object.namespace', 'nova_object.version', 'nova_object.data'])
def test_o7_primitive_without_a_key_fails_the_call(
        missing, echo, client):  # noqa: F811
    echo()
    made = new_service('h')
    del made[missing]
    with pytest.raises(Failure):
        look(client, made)


def test_o7_other_namespace_is_refused(echo, client):  # noqa: F811
    echo()
    made = dict(new_service('h'), **{'nova_object.namespace': 'cinder'})
    with pytest.raises(Failure) as failed:
        look(client, made)
    assert failed.value.name == 'UnsupportedObjectError'


# ---- O8: secrets ------------------------------------------------------------

def test_o8_trace_of_a_request_is_not_logged(echo, client,  # noqa: F811
                                             conductor, overheard):
    service = echo('host1', '--conductor', '--own', 'Instance=2.5', '--debug')
    context = {'request_id': 'req-1', 'auth_token': 'SECRET-A',
               'trace_info': {'hmac_key': 'SECRET-B', 'base_id': 'SECRET-C',
                              'parent_id': 'SECRET-D'}}
    assert look(client, instance(), _context=context)['version'] == '2.5'
    # Who acts for a request passes its context on as it is.
    assert overheard.read(2)[1]['_context_trace_info'] == context['trace_info']
    with pytest.raises(Failure):
        look(client, instance('3.0'), _context=context)
    service.stop()
    log = service.log.read_text()
    assert 'req-1' in log
    assert 'SECRET' not in log
