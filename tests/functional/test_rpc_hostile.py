"""What a peer may send that means harm, or nothing: conformance tests H1 to
H20.  After each the service still serves."""

import gzip
import json
import threading
import time
import zlib

import pytest

from harness.echo import by_hand, call, echo, own, peer  # noqa: F401
from harness.memory import MB, assert_bounded, memory
from harness.nova import context, instance, migration
from harness.oslo import Failure
from harness.raw import PROPERTIES, envelope, opened, reply_to
from harness.wait import wait_for

HOST = 'compute.host1'
UUID = '11111111-2222-4333-8444-555555555555'

# So many lines of one kind a minute are logged.
LOGGED = 10


def inner(text, version='2.0'):
    """A body whose message is this text."""
    return json.dumps({'oslo.version': version, 'oslo.message': text}).encode()


class Victim:
    """A service, host1, and somebody who sends what he likes."""

    def __init__(self, service, raw, client):
        self.service = service
        self.raw = raw
        self.client = client
        self.queue = raw.queue(auto_delete=False, exclusive=True)

    def publish(self, body, **properties):
        self.raw.publish(body, HOST, 'nova', **(properties or PROPERTIES))

    def serves(self):
        assert call(self.client, 'none', _timeout=30) is None

    def memory(self):
        return memory(self.service.process.pid)

    def assert_bounded(self, limit):
        assert_bounded(self.service.process.pid, limit)

    def logged(self, text):
        return self.service.log.read_text(errors='replace').count(text)

    def is_refused(self, *bodies, why='body', deadline=30, **properties):
        """Each is rejected, not given back, counted and logged."""
        before = self.service.status()
        lines = self.logged('message rejected')
        for body in bodies:
            self.publish(body, **properties)
        status = wait_for(
            lambda: (lambda now: now['rejected'] - before['rejected'] ==
                     len(bodies) and now)(self.service.status()),
            deadline, 'all are rejected')
        assert status['refused'][why] - before['refused'][why] == len(bodies)
        assert self.logged('message rejected') == min(
            LOGGED, lines + len(bodies))
        assert self.raw.depth(HOST) == 0
        self.serves()
        assert self.service.status()['rejected'] == status['rejected']

    def ask(self, message, deadline=30):
        """Sends a message, or the text of one; returns the reply."""
        if isinstance(message, dict):
            message = json.dumps({'version': '6.0', 'args': {}, '_msg_id': '1',
                                  '_reply_q': self.queue, **message})
        self.publish(inner(message))
        reply = opened(self.raw.read(self.queue, deadline=deadline)[0].body)
        assert reply['ending'] is True
        return reply

    def result(self, message, **more):
        reply = self.ask(message, **more)
        assert reply['failure'] is None
        return reply['result']

    def failure(self, message):
        failure = json.loads(self.ask(message)['failure'])
        assert len(failure['message']) < 2000
        return failure

    def executed(self):
        return call(self.client, 'count')


@pytest.fixture
def victim(echo, raw, client):
    victim = Victim(echo('host1'), raw, client)
    yield victim
    victim.serves()


# ---- Bodies that are none ---------------------------------------------------

def test_h1_bodies_that_are_no_message(victim):
    victim.is_refused(b'', b'hello', b'null', b'[1]', b'"x"', b'[' * MB,
                      envelope({'method': 'none'})[:-1], b'\0', b' ')


def test_h2_messages_that_are_no_text(victim):
    victim.is_refused(*(
        b'{"oslo.version": "2.0", "oslo.message": %s}' % message
        for message in (b'{}', b'[]', b'7', b'null', b'true', b'""',
                        b'"x"', b'"[1]"')))
    victim.assert_bounded(64 * MB)
    victim.is_refused(inner('x' * (60 * MB)))
    before = victim.service.status()['n_oversized']
    victim.publish(inner('x' * (64 * MB)))
    wait_for(lambda: victim.service.status()['n_oversized'] == before + 1, 30)
    now, peak = victim.memory()
    print('60 MB of text: %d MB at most, %d MB after' % (peak / MB, now / MB))
    victim.assert_bounded(512 * MB)


def test_h3_bytes_that_are_no_text(victim):
    good = envelope({'method': 'none'})
    victim.is_refused(
        b'{"method": "\xff"}', b'{"\xc3": 1}', b'{"method": "\xc0\x80"}',
        b'\xef\xbb\xbf' + good, good.replace(b'none', b'no\0ne'), good + b'\0',
        inner('{"method": "\\ud800"}'), inner('{"\\udc00": "x"}'),
        inner('{}\0'), '{}'.encode('utf-16'))


def test_h3_nul_escapes_cut_nothing(victim):
    text = 'a\0b\0'
    value = {text: [text, '\0', {'\0\0': ''}], 'a': 1}
    assert victim.result({'method': 'echo', 'args': {'value': value}}) == value
    assert victim.failure({'method': text})['message'] == (
        'Endpoint does not support RPC method ' + text)
    assert victim.failure({'method': 'echo', 'args': {
        'value\0': 1}})['class'] == 'TypeError'
    assert victim.result({'method': 'context', '_context_\0': '\0'}) == {
        '\0': '\0'}
    assert victim.failure({'method': 'none', 'version': '6.0\0'})['class'] == (
        'UnsupportedVersion')


def test_h4_nesting(victim):
    def nested(levels):
        return '[' * levels + ']' * levels

    for text in ('{"method": "echo", "args": {"value": %s}, ',
                 '{"method": "none", "_context_x": %s, ', '{"method": "none", '
                 '"ignored": %s, '):
        text += '"version": "6.0", "_msg_id": 1, "_reply_q": "%s"}'
        assert victim.ask(text % (nested(500), victim.queue))['failure'] is None
        victim.is_refused(*(inner(text % (nested(levels), victim.queue))
                            for levels in (600, 100000)))
    outer = envelope({'method': 'none'})[:-1] + b', "x": %s}'
    victim.publish(outer % nested(500).encode())
    victim.serves()
    victim.is_refused(*(outer % nested(levels).encode()
                        for levels in (600, 100000)))


def test_h5_many_names_and_long_lists(victim):
    names = {'k%d' % n: n for n in range(200000)}
    assert victim.result({'method': 'echo', 'args': {'value': names}}) == names
    values = list(range(1000000))
    assert victim.result({'method': 'echo',
                          'args': {'value': values}}) == values
    now, peak = victim.memory()
    print('a list of a million: %d MB at most, %d MB after' % (
        peak / MB, now / MB))
    victim.assert_bounded(768 * MB)
    victim.is_refused(inner('{"method": "none", "x": [%s]}' % ','.join(
        ['1'] * 2100000)))


def test_h5_names_twice_and_in_other_case(victim):
    text = ('{"method": "nosuch", "args": {"value": 1, "value": {"a": 1, '
            '"A": 2, "a": 3}}, "Method": "x", "_msg_id": 1, "_reply_q": "%s", '
            '"version": "6.0", "METHOD": 7, "method": "echo"}')
    assert victim.result(text % victim.queue) == {'A': 2, 'a': 3}
    assert victim.failure({'method': 'echo', 'args': {'Value': 1}})['class'] \
        == 'TypeError'


def test_h6_content_types(victim):
    good = envelope({'method': 'none', 'version': '6.0'})
    for kind in ('text/plain', 'APPLICATION/JSON', 'application/x-python-'
                 'serialize', 'application/x-msgpack', 'application/x-yaml',
                 'application/json; charset=utf-8', 'application/data', '',
                 '%n%s', 'x' * 255):
        victim.is_refused(good, why='type', content_type=kind)
    victim.is_refused(good, why='type', content_encoding='utf-8')


def test_h7_compression_that_lies(victim):
    packed = {**PROPERTIES,
              'application_headers': {'compression': 'application/x-gzip'}}
    bomb = zlib.compressobj(9)
    zeros = bytes(16 * MB)
    body = b''.join([*(bomb.compress(zeros) for _ in range(32)),
                     bomb.flush()])
    victim.is_refused(body, body[:100000], why='size', **packed)
    now, peak = victim.memory()
    print('%d kB that would be 512 MB: %d MB at most, %d MB after' % (
        len(body) >> 10, peak / MB, now / MB))
    victim.assert_bounded(384 * MB)
    good = zlib.compress(envelope({'method': 'none', 'version': '6.0'}))
    victim.is_refused(good[:-6], good + b'x', good[:-1] + b'\0',
                      why='compression', **packed)
    victim.is_refused(gzip.compress(envelope({'method': 'none'})), **packed)


# ---- Requests that make no sense --------------------------------------------

def test_h8_methods_that_are_none(victim):
    for method in (None, 7, ['none'], {}, True, '', 'no\0ne', 'none\0',
                   '%n%n%s%s', '_private', '__init__', '../none', 'x' * MB):
        failure = victim.failure({'method': method})
        assert (failure['class'], failure['module']) == (
            'NoSuchMethod', 'oslo_messaging.rpc.dispatcher')
        if method == '%n%n%s%s':
            assert failure['message'].endswith(' RPC method %n%n%s%s')
    assert victim.failure('{"version": "6.0", "_msg_id": 1, "_reply_q": "%s"}'
                          % victim.queue)['class'] == 'NoSuchMethod'
    assert victim.service.status()['invalid'] == 14


def test_h9_arguments_that_are_none(victim):
    for args in (None, [], ['value'], 'value', 7, {}, {'value': 1, 'self': 2},
                 {'value': 1, 'ctxt': 2}, {'value': 1, '__proto__': {}},
                 {'value': 1, '': 2}, {'value': 1, 'x' * MB: 2}):
        failure = victim.failure({'method': 'echo', 'args': args})
        assert (failure['class'], failure['module']) == (
            'TypeError', 'builtins')
    assert victim.result({'method': 'echo', 'args': {
        'value': {'__proto__': {'x': 1}, '': None}}}) == {
            '__proto__': {'x': 1}, '': None}


def test_h10_reply_queues_that_are_none(victim):
    own_queue = victim.service.status()['reply_queue']
    queues = [None, 7, ['q'], '', 'q' * 300, 'a\0b', 'no.such.queue', HOST,
              'amq.rabbitmq.reply-to', 'amq.rabbitmq.reply-to.x.y', 'amq.topic',
              own_queue]
    for queue in queues:
        victim.publish(inner(json.dumps({
            'method': 'echo', 'args': {'value': 1}, 'version': '6.0',
            '_msg_id': '1', '_reply_q': queue})))
    victim.publish(inner('{"method": "echo", "args": {"value": 1}, '
                         '"version": "6.0", "_msg_id": "1"}'))
    assert wait_for(lambda: victim.executed() == len(queues) + 1, 10)
    # What it told itself came once and went nowhere: as a reply that nobody
    # waits for, and as a request without a method, which has no answer.
    status = wait_for(
        lambda: (lambda now: now['unknown'] == 1 and now['held'] == 0 and now)(
            victim.service.status()), 10)
    assert status['connects'] == 2
    victim.serves()
    assert victim.service.status()['unknown'] == 1


def test_h11_message_ids_of_any_kind(victim):
    for msg_id in (7, -1.5, True, ['x', None], {'a': {'b': 1}}, '', 'x\0y',
                   'x' * 1000):
        assert victim.ask({'method': 'none', '_msg_id': msg_id})[
            '_msg_id'] == msg_id
    before = victim.executed()
    for msg_id in (None, 'x' * MB, {'x': 'y' * 2000}):
        victim.publish(inner(json.dumps({
            'method': 'echo', 'args': {'value': 1}, 'version': '6.0',
            '_msg_id': msg_id, '_reply_q': victim.queue})))
    assert wait_for(lambda: victim.executed() == before + 3, 10)
    victim.serves()
    assert victim.raw.depth(victim.queue) == 0


def test_h12_unique_ids_that_are_none_repeat_nothing(victim):
    for unique_id in (None, {}, [], 7, '', 'x' * MB, {'a': 'b'}):
        for _ in range(2):
            assert victim.result({'method': 'echo', 'args': {'value': 1},
                                  '_unique_id': unique_id}) == 1
    assert victim.executed() == 14
    assert victim.service.status()['duplicates'] == 0


def test_h13_versions(victim):
    for version in ('6.0', '6.1', '5.13', '6.0.1.1', '6.1.0', '06.00'):
        assert victim.ask({'method': 'none',
                           'version': version})['failure'] is None
    for version in ('', '.', '6.', '.6', '6', '99999999999999999999.0',
                    '6.99999999999999999999', '4294967302.0', '6.1.1.1',
                    '-6.0', '6.-1', '+6.0', ' 6.0', '6.0 ', '6,0', '0x6.0',
                    '6.0\0', 6.0, 6, ['6.0'], {}, None, True, 'x' * MB):
        failure = victim.failure({'method': 'none', 'version': version})
        assert failure['class'] == 'UnsupportedVersion', version


def test_h14_numbers(victim):
    text = ('{"method": "echo", "args": {"value": %s}, "version": "6.0", '
            '"_msg_id": 1, "_reply_q": "' + victim.queue + '"}')
    victim.is_refused(*(inner(text % number) for number in (
        'NaN', 'Infinity', '-Infinity', '1e400', '-1e400', '01', '-01', '+1',
        '.5', '1.', '0x1', '1e', '9' * 5000)))
    for number in ('-0', '9' * 400, '-' + '9' * 400, '9223372036854775807',
                   '-9223372036854775808', '18446744073709551615', '1e300',
                   '1.5', '1e-400'):
        assert victim.result(text % number) == json.loads(number)
    victim.publish(inner('{"method": "none", "version": "6.0", "_msg_id": 1, '
                         '"_reply_q": "%s", "_timeout": %s}' % (
                             victim.queue, '9' * 400)))
    assert victim.raw.read(victim.queue)


# ---- Replies ----------------------------------------------------------------

def test_h15_replies_to_nobody(victim):
    queue = victim.service.status()['reply_queue']
    bodies = [json.dumps(reply).encode() for reply in (
        {}, {'result': 1}, {'_msg_id': 7}, {'_msg_id': 'nobody'},
        {'_msg_id': 'nobody', 'failure': {}, 'ending': True},
        {'_msg_id': 'nobody', 'failure': '{}', 'ending': 1})]
    bodies += [envelope(reply_to({'_msg_id': 'x' * n})) for n in (0, 32, MB)]
    for body in bodies * 2:
        victim.raw.publish(body, queue, **PROPERTIES)
    status = wait_for(
        lambda: (lambda now: now['unknown'] == 2 * len(bodies) and now)(
            victim.service.status()), 10)
    assert not any(status['replies_refused'].values())

    lines = victim.logged('reply dropped')
    bad = [b'', b'[' * MB, b'null', b'\xff', envelope({}, '3.0'), inner('1')]
    for body in bad:
        victim.raw.publish(body, queue, **PROPERTIES)
    victim.raw.publish(b'{}', queue, content_type='text/plain')
    victim.raw.publish(b'x' * (100 * MB), queue, **PROPERTIES)
    status = wait_for(
        lambda: (lambda now: now['n_oversized'] == 1 and
                 now['replies_refused']['body'] == len(bad) and now)(
            victim.service.status()), 30)
    assert status['replies_refused']['type'] == 1
    assert victim.logged('reply dropped') == lines + len(bad) + 1
    assert status['connects'] == 2


def test_h15_hostile_replies_end_no_call_but_their_own(by_hand, raw):
    def answer(request):
        queue = request['_reply_q']
        for reply in ({'_msg_id': 'nobody', 'result': 0, 'failure': '{"class":'
                       ' "ValueError", "module": "builtins"}', 'ending': True},
                      {'_msg_id': ['x'], 'failure': None, 'ending': True},
                      {'_msg_id': request['_msg_id'] + 'x', 'failure': None,
                       'result': 0, 'ending': True}):
            raw.publish(envelope(reply), queue, **PROPERTIES)
        raw.publish(b'{', queue, **PROPERTIES)
        for result in ('yes', 'no', 'never'):
            raw.publish(envelope(reply_to(request, result=result)), queue,
                        **PROPERTIES)

    assert by_hand(answer) == {'ok': True, 'result': 'yes'}


@pytest.mark.parametrize('failure, seen', [
    ({}, ('NovaException', 'a peer failed without a message')),
    ({'class': 7, 'module': [], 'message': {}}, ('NovaException', None)),
    ({'class': 'eval', 'module': 'os; import sys', 'message': '%n%s%(x)s'},
     ('eval', '%n%s%(x)s')),
    ({'class': 'x' * MB, 'module': 'y' * MB, 'message': 'z' * MB,
      'tb': ['t' * MB]}, ('x' * 256, 'z' * 4096)),
    ({'class': 'A\0B', 'module': 'm', 'message': 'a\0b', 'tb': None},
     ('A\0B', 'a\0b')),
    ({'class': 'InstanceNotFound', 'module': 'nova.exception', 'tb': 'text',
      'message': 'Instance 7 could not be found.', 'args': 'x',
      'kwargs': {'instance_id': {'a': [1]}, 'x' * 1000: 1, 'code': 'x'}},
     ('InstanceNotFound', None)),
    ({'class': 'InstanceNotFound', 'module': 'nova.exception',
      'kwargs': {'k%d' % n: n for n in range(100000)}},
     ('InstanceNotFound', None)),
], ids=['empty', 'types', 'code', 'huge', 'nul', 'kwargs', 'many'])
def test_h16_hostile_failures_are_data(failure, seen, by_hand, raw):
    line = by_hand(lambda request: raw.publish(
        envelope(reply_to(request, failure=json.dumps(failure))),
        request['_reply_q'], **PROPERTIES))
    name, message = seen
    assert not line['ok']
    assert (line['class'] or 'NovaException') == name
    if message is not None:
        assert line['message'] == message
    assert len(json.dumps(line)) < 20000


@pytest.mark.parametrize('failure', [{}, [], 7, True, 'x', '[1]', '{"class"'])
def test_h16_failures_that_are_none_fail_the_call(failure, by_hand, raw):
    line = by_hand(lambda request: raw.publish(
        envelope(reply_to(request, failure=failure)), request['_reply_q'],
        **PROPERTIES))
    assert (line['ok'], line['class']) == (False, 'ValueError')


# ---- Objects and contexts, at the agent -------------------------------------

def nested(levels):
    made = instance(UUID, 'x')
    for _ in range(levels):
        made = {**made, 'nova_object.data': {'flavor': made}}
    return made


def without(key):
    made = instance(UUID, 'x')
    del made['nova_object.' + key]
    return made


def changed(**words):
    return {**instance(UUID, 'x'), **{
        'nova_object.' + key: value for key, value in words.items()}}


def test_h17_objects_that_are_none(client, droverd):
    agent = droverd('host1')
    wrong = [None, 7, 'x', [], {}, {'uuid': UUID}, *map(without, (
        'name', 'namespace', 'version', 'data')),
        changed(namespace='other'), changed(namespace=None),
        changed(name='Migration'), changed(name=['Instance']),
        changed(version='1.2.3.4'), changed(version=2), changed(version=''),
        changed(data=[]), changed(data='x'), changed(data={}),
        changed(data={'uuid': 7}), changed(data={'uuid': '../../x'}),
        changed(data={'uuid': UUID + '\0'}),
        changed(changes={}), changed(changes=[7]), nested(200)]
    methods = {
        'check_can_live_migrate_destination': {
            'block_migration': None, 'disk_over_commit': None,
            'migration': None, 'limits': None},
        'check_can_live_migrate_source': {'dest_check_data': None},
        'pre_live_migration': {'disk': None, 'migrate_data': None},
        'post_live_migration_at_destination': {},
        'rollback_live_migration_at_destination': {
            'destroy_disks': None, 'migrate_data': None},
        'live_migration_abort': {'migration_id': 1},
        'live_migration_force_complete': {},
        'drop_move_claim_at_destination': {},
        'remove_volume_connection': {'volume_id': 'x'},
    }
    calls = [(method, each, client.call_async(
        method, _server='host1', _version='6.0', _context=context(),
        _timeout=60, instance=each, **args))
        for each in wrong for method, args in methods.items()]
    many = changed(changes=['x%d' % n for n in range(1000000)])
    calls.append(('check_can_live_migrate_source', many, client.call_async(
        'check_can_live_migrate_source', _server='host1', _version='6.0',
        instance=many, dest_check_data=None)))
    for method, each, future in calls:
        with pytest.raises(Failure) as caught:
            future.result(60)
        assert caught.value.remote, (method, str(each)[:200])
        assert len(caught.value.message) < 5000
    for each in (7, [], {}, 'x', changed(name='Migration', data=[])):
        with pytest.raises(Failure) as caught:
            client.call('live_migration', _server='host1', _version='6.0',
                        _context=context(), _timeout=30,
                        instance=instance(UUID, 'host1'), dest='x\0y',
                        block_migration=False, migration=each,
                        migrate_data=each)
        assert caught.value.remote
    with pytest.raises(Failure):
        client.call('check_instance_shared_storage', _server='host1',
                    _version='6.0', data={'filename': '/etc\0/passwd'})
    made = instance(UUID, 'host1')
    with pytest.raises(Failure):
        client.call('live_migration', _server='host1', _version='6.0',
                    _context=context(), instance=made, dest='x\0y',
                    block_migration=False, migrate_data=None,
                    migration=migration(made))
    assert agent.ctl_json('status')['host'] == 'host1'


def test_h18_contexts_of_every_wrong_type(victim, client):
    values = [None, 7, -1.5, True, 'x', '\0', [], [7], {}, {'a': 1}]
    for name in ('user', 'roles', 'is_admin', 'request_id', 'project_id',
                 'auth_token', 'trace_info', '', 'service_catalog',
                 'read_deleted', 'timestamp'):
        for value in values:
            reply = victim.ask({'method': 'context',
                                '_context_' + name: value})
            if reply['failure'] is None:
                assert reply['result'] == {name: value}
                assert (name, value) not in (
                    ('read_deleted', 'x'), ('timestamp', 'x'),
                    ('service_catalog', [7]))
            else:
                assert name in ('service_catalog', 'read_deleted', 'timestamp')
                assert json.loads(reply['failure'])['class'] == 'ValueError'


# ---- Where it comes from, and how much of it --------------------------------

def test_h19_fanout_that_wants_an_answer_gets_one(victim):
    body = {'method': 'echo', 'args': {'value': 3}, 'version': '6.0',
            '_msg_id': '1', '_reply_q': victim.queue, '_unique_id': 'once'}
    victim.raw.publish(envelope(body), '', 'compute_fanout', **PROPERTIES)
    assert opened(victim.raw.read(victim.queue)[0].body)['result'] == 3
    victim.publish(envelope(body))
    victim.serves()
    assert victim.raw.depth(victim.queue) == 0
    assert victim.executed() == 2  # With serves().


def test_h20_garbage_by_the_ten_thousand(victim, own):
    garbage = [b'{"method": "none"', b'\xff' * 50, b'[' * 200, b'null',
               envelope({'method': 'none'}, '3.0')] * 400
    ended = threading.Event()
    lines = []

    def flood_of_calls():
        lines.extend(own('flood', '400', '8', to='host1'))
        ended.set()

    caller = threading.Thread(target=flood_of_calls)
    start = time.monotonic()
    caller.start()
    sent = 0
    while not ended.is_set() or not sent:
        victim.raw.blast(garbage, HOST)
        sent += len(garbage)
        victim.serves()
    caller.join()
    status = wait_for(
        lambda: (lambda now: now['rejected'] == sent and now)(
            victim.service.status()), 60)
    seconds = time.monotonic() - start
    print('%d bodies of garbage in %.1f s, %.0f a second; calls: %s; %d MB' % (
        sent, seconds, sent / seconds, lines[0], victim.memory()[1] / MB))
    assert lines[0]['errors'] == 0
    assert status['refused']['body'] == sent
    assert victim.logged('message rejected') == LOGGED
    victim.assert_bounded(64 * MB)
