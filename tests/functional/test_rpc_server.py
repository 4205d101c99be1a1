"""rpc/server behind rpc/link, against real peers."""

import json
import uuid
import zlib

import pytest

from harness.echo import echo, own  # noqa: F401
from harness.oslo import Failure, Timeout
from harness.raw import envelope, opened
from harness.wait import wait_for

JSON = {'content_type': 'application/json', 'content_encoding': 'utf-8',
        'delivery_mode': 2, 'priority': 0}


def call(client, method, **words):
    words.setdefault('_version', '6.0')
    words.setdefault('_server', 'host1')
    return client.call(method, **words)


# ---- Envelope ---------------------------------------------------------------

@pytest.mark.parametrize('value', [
    None, False, 0, '', [], {}, [[1, [2, [None]]]], 'gr\u00fc\u00dfe \U0001f411',
    'quote " and \\', 2 ** 53, 2 ** 53 - 1, 2 ** 63 - 1, -1, 1.5, {'': 1}])
def test_values_come_back_as_they_went(value, echo, client):
    echo()
    assert call(client, 'echo', value=value) == value


def test_body_of_several_megabytes_comes_back(echo, client):
    echo()
    text = 'x' * (8 << 20)
    assert call(client, 'echo', value=text) == text


def test_request_with_the_least_of_properties_is_answered(echo, raw):
    echo()
    queue = raw.queue()
    raw.request('echo', {'value': 'gr\u00fc\u00dfe'}, 'compute.host1',
                reply_q=queue, version='6.0',
                properties={'content_type': 'application/json'})
    assert opened(raw.read(queue)[0].body)['result'] == 'gr\u00fc\u00dfe'


def test_bare_message_is_answered(echo, raw):
    echo()
    queue = raw.queue()
    raw.publish(json.dumps({
        'method': 'none', 'version': '6.0', '_msg_id': '1',
        '_reply_q': queue, 'what': 'ever'}).encode(), 'compute.host1', 'nova',
        **JSON)
    assert opened(raw.read(queue)[0].body)['_msg_id'] == '1'


def test_compressed_request_is_answered_uncompressed(echo, raw):
    echo()
    queue = raw.queue()
    body = envelope({'method': 'echo', 'args': {'value': 'x' * 1000},
                     'version': '6.0', '_msg_id': '1', '_reply_q': queue})
    raw.publish(zlib.compress(body), 'compute.host1', 'nova',
                application_headers={'compression': 'application/x-gzip'},
                **JSON)
    assert opened(raw.read(queue)[0].body)['result'] == 'x' * 1000


@pytest.mark.parametrize('body', [
    b'', b'hello', b'null', b'[1]', b'[' * 100000, b'{"oslo.version": "2.0"',
    b'{"oslo.version": "2.0", "oslo.message": {}}',
    b'{"oslo.version": "3.0", "oslo.message": "{}"}',
    b'\xef\xbb\xbf{}', b'{"method": "\xff"}'])
def test_garbage_is_rejected_and_not_requeued(body, echo, raw, client, broker):
    service = echo()
    raw.publish(body, 'compute.host1', 'nova', **JSON)
    call(client, 'none')
    assert broker.queues()['compute.host1'] == 0
    assert service.stop()['rejected'] == 1


@pytest.mark.parametrize('kind', [
    None, 'text/plain', 'APPLICATION/JSON', 'application/json; charset=utf-8'])
def test_other_content_types_are_rejected(kind, echo, raw, client):
    service = echo()
    raw.request('none', {}, 'compute.host1', version='6.0',
                properties={'content_type': kind} if kind else {'priority': 0})
    call(client, 'none')
    assert service.stop()['rejected'] == 1


# ---- Replies and failures ---------------------------------------------------

def test_reply_is_what_peers_send(echo, raw):
    echo()
    queue = raw.queue()
    message_id = raw.request('echo', {'value': 7}, 'compute.host1',
                             reply_q=queue, version='6.0')
    message = raw.read(queue)[0]
    reply = opened(message.body)
    assert set(json.loads(message.body)) == {'oslo.version', 'oslo.message'}
    assert sorted(reply) == ['_msg_id', '_unique_id', 'ending', 'failure',
                             'result']
    assert reply['_msg_id'] == message_id
    assert (reply['result'], reply['failure'], reply['ending']) == (
        7, None, True)
    assert message.properties == {**JSON, 'application_headers': {}}
    assert message.delivery_info['exchange'] == ''


def test_failure_is_rebuilt_by_the_caller(echo, client):
    echo()
    with pytest.raises(Failure) as caught:
        call(client, 'fail', **{'with': 'InstanceNotFound'})
    failure = caught.value
    assert (failure.name, failure.module) == (
        'InstanceNotFound', 'nova.exception')
    assert failure.rebuilt
    assert failure.message == 'Instance 42 could not be found.'
    assert failure.kwargs == {'instance_id': '42', 'code': 404}


def test_builtin_failure_is_rebuilt_by_the_caller(echo, client):
    echo()
    with pytest.raises(Failure) as caught:
        call(client, 'fail', **{'with': 'NotImplementedError'})
    assert (caught.value.name, caught.value.module) == (
        'NotImplementedError', 'builtins')


@pytest.mark.parametrize('method', ['nosuch', '_private', '__init__'])
def test_unknown_method_is_no_such_method(method, echo, client):
    echo()
    with pytest.raises(Failure) as caught:
        call(client, method)
    assert caught.value.name == 'NoSuchMethod'
    assert caught.value.message == (
        'Endpoint does not support RPC method ' + method)


@pytest.mark.parametrize('version', ['6.0', '6.1', '5.13', '5.0', '6.0.9'])
def test_version_is_served(version, echo, client):
    echo()
    assert call(client, 'none', _version=version) is None


@pytest.mark.parametrize('version, namespace', [
    ('6.99', None), ('7.0', None), ('4.0', None), (None, None),
    ('1.2', 'baseapi'), ('6.0', 'nope'), ('6.0', '')])
def test_version_is_unsupported(version, namespace, echo, client):
    echo()
    words = {'_namespace': namespace} if namespace is not None else {}
    with pytest.raises(Failure) as caught:
        call(client, 'none', _version=version, **words)
    assert caught.value.name == 'UnsupportedVersion'
    assert caught.value.message == (
        'Endpoint does not support RPC version %s. Attempted method: none'
        % (version or '1.0'))


def test_baseapi_ping_answers(echo, client):
    echo()
    assert call(client, 'ping', _namespace='baseapi', _version='1.0',
                arg='x') == {'service': 'compute', 'arg': 'x'}
    assert call(client, 'get_backdoor_port', _namespace='baseapi',
                _version='1.1') is None


def test_wrong_arguments_are_a_type_error(echo, client):
    echo()
    for words in ({}, {'value': 1, 'more': 2}):
        with pytest.raises(Failure) as caught:
            call(client, 'echo', **words)
        assert (caught.value.name, caught.value.module) == (
            'TypeError', 'builtins')


def test_context_reaches_the_method(echo, client):
    echo()
    context = call(client, 'context', _context={'request_id': 'req-1',
                                                'is_admin': True})
    assert context['request_id'] == 'req-1'
    assert context['is_admin'] is True


# ---- Long calls -------------------------------------------------------------

def test_keepalives_keep_a_monitored_call_alive(echo, client):
    service = echo()
    assert call(client, 'sleep', seconds=5, _call_monitor_timeout=4,
                _timeout=30) == 5
    assert service.stop()['keepalives'] == 2


@pytest.mark.parametrize('monitor', [None, 1, 0, -4, 'abc', {}, [], 60])
def test_no_keepalives_for(monitor, echo, raw):
    service = echo()
    queue = raw.queue()
    raw.request('sleep', {'seconds': 1.5}, 'compute.host1', reply_q=queue,
                version='6.0', _timeout=monitor)
    assert opened(raw.read(queue)[0].body)['result'] == 1.5
    assert service.stop()['keepalives'] == 0


def test_keepalives_end_with_the_caller(echo, raw):
    service = echo()
    queue = raw.queue(auto_delete=False)
    raw.request('sleep', {'seconds': 6}, 'compute.host1', reply_q=queue,
                version='6.0', _timeout=2)
    raw.read(queue)
    raw.channel.queue_delete(queue)
    assert service.stop()['keepalives'] == 2


# ---- Duplicates, order, limits ----------------------------------------------

def test_repeated_message_runs_once_whichever_way_it_comes(echo, raw, client):
    service = echo()
    ids = {'_unique_id': uuid.uuid4().hex, 'version': '6.0'}
    raw.request('none', {}, 'compute.host1', **ids)
    raw.request('none', {}, 'compute', **ids)
    raw.request('none', {}, '', exchange='compute_fanout', **ids)
    for _ in range(20):
        client.cast('none', _server='host1', _version='6.0')
    raw.request('none', {}, 'compute.host1', **ids)
    assert wait_for(lambda: call(client, 'count') == 21)
    assert service.stop()['duplicates'] == 3


def test_message_without_an_id_is_never_a_duplicate(echo, raw, client):
    echo()
    for unique_id in (None, None, {}, {}):
        raw.request('none', {}, 'compute.host1', version='6.0',
                    _unique_id=unique_id)
    assert wait_for(lambda: call(client, 'count') == 4)


def test_call_that_is_too_old_is_not_run(echo, client, raw):
    service = echo('host1', '--max-held', 1)
    client.cast('sleep', _server='host1', _version='6.0', seconds=3)
    with pytest.raises(Timeout):
        call(client, 'none', _timeout=1)
    assert wait_for(lambda: call(client, 'count') == 1)
    assert service.stop()['stale'] == 1


def test_dead_reply_queues_hold_nobody_up(echo, raw, client):
    echo()
    for number in range(64):
        raw.request('none', {}, 'compute.host1', version='6.0',
                    reply_q='reply_dead_%d' % number)
    assert call(client, 'echo', value=1, _timeout=2) == 1


def test_reply_waits_for_its_queue_to_come_back(echo, raw):
    service = echo()
    queue = raw.queue('reply_lost', auto_delete=False)
    raw.request('sleep', {'seconds': 0.5}, 'compute.host1', reply_q=queue,
                version='6.0')
    raw.channel.queue_delete(queue)
    wait_for(lambda: service.status()['connects'] == 2)
    raw.queue('reply_back')
    wait_for(lambda: raw.has_queue('reply_back'))
    raw.queue(queue)
    assert opened(raw.read(queue, deadline=20)[0].body)['result'] == 0.5


@pytest.mark.parametrize('reply_q', [None, 5, '', 'x' * 300, 'compute.host1',
                                     'compute', 'amq.direct'])
def test_strange_reply_queues_do_no_harm(reply_q, echo, raw, client):
    echo()
    raw.request('none', {}, 'compute.host1', version='6.0', _msg_id='1',
                _reply_q=reply_q)
    assert wait_for(lambda: call(client, 'count') == 1)


# ---- Sharing and stopping ---------------------------------------------------

def test_topic_is_shared_with_a_real_server(echo, client, oslo_server):
    echo('host1')
    oslo_server('compute', 'host2', {'who': lambda context, args: 'host2'},
                endpoints=[(None, '6.0')])
    answers = [client.call('who', _version='6.0') for _ in range(20)]
    assert set(answers) == {'host1', 'host2'}
    assert call(client, 'who') == 'host1'
    assert call(client, 'who', _server='host2') == 'host2'


def test_stop_answers_what_runs_and_gives_back_the_rest(echo, client, broker):
    service = echo('host1', '--max-held', 1)
    running = client.call_async('sleep', _server='host1', _version='6.0',
                                seconds=4)
    wait_for(lambda: service.status()['held'] == 1)
    waiting = [client.call_async('echo', _server='host1', _version='6.0',
                                 value=n) for n in range(20)]
    wait_for(lambda: service.status()['held'] == 21)
    assert service.stop()['executed'] == 1
    assert running.result(10) == 4
    assert broker.queues()['compute.host1'] == 20
    echo('host1')
    assert [each.result(20) for each in waiting] == list(range(20))


def test_stop_leaves_no_queue_of_its_own(echo, broker):
    service = echo()
    before = set(broker.queues())
    assert any(name.startswith('compute_fanout_') for name in before)
    service.stop()
    gone = before - set(broker.queues())
    assert sorted(name.rstrip('0123456789abcdef') for name in gone) == [
        'compute_fanout_', 'reply_']
