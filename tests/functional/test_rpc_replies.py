"""Results and failures: conformance tests R1 to R12."""

import json
import uuid

import pytest

from harness.echo import (  # noqa: F401
    by_hand, call, echo, own, peer, unharmed)
from harness.oslo import Failure, Raise
from harness.raw import PROPERTIES, envelope, opened, reply_to
from harness.wire import wire  # noqa: F401

pytestmark = pytest.mark.usefixtures('unharmed')

INTEGERS = [2 ** 31 - 1, 2 ** 31, -2 ** 31 - 1, 2 ** 32, 2 ** 53 - 1, 2 ** 53,
            2 ** 53 + 1, 2 ** 63 - 1, -2 ** 63, 2 ** 64 - 1]


def failure_of(client, method, **words):
    with pytest.raises(Failure) as caught:
        call(client, method, **words)
    return caught.value


def is_same(one, other):
    return type(one) is type(other) and one == other


# ---- Results ----------------------------------------------------------------

EMPTY = [None, False, 0, '', [], {}]


def test_r1_results_that_are_next_to_nothing_arrive_exactly(echo, client):
    echo()
    for value in EMPTY:
        assert is_same(call(client, 'echo', value=value), value)


@pytest.mark.parametrize('value', EMPTY, ids=repr)
def test_r1_result_of_a_real_server_arrives_exactly(value, by_hand, raw):
    line = by_hand(lambda request: raw.publish(
        envelope(reply_to(request, result=value)), request['_reply_q'],
        **PROPERTIES))
    assert line['ok'] and is_same(line['result'], value)


def test_r2_reply_is_one_message_with_five_keys(wire, echo, raw):
    echo(url=wire.url)
    queue = raw.queue()
    unique_id = uuid.uuid4().hex
    message_ids = [
        raw.request('echo', {'value': value}, 'compute.host1', reply_q=queue,
                    version='6.0', **more)
        for value, more in ((1, {'_unique_id': unique_id}), (2, {}))]
    received = raw.read(queue, 2)
    assert len(wire.find(routing_key=queue)) == len(received) == 2
    for message in wire.find(routing_key=queue):
        assert (message.exchange, message.mandatory) == ('', True)
        assert message.properties == {**PROPERTIES, 'application_headers': {}}
        assert set(json.loads(message.body)) == {
            'oslo.version', 'oslo.message'}
    replies = [opened(message.body) for message in received]
    for reply in replies:
        assert sorted(reply) == ['_msg_id', '_unique_id', 'ending', 'failure',
                                 'result']
        assert (reply['failure'], reply['ending']) == (None, True)
    assert sorted((reply['_msg_id'], reply['result']) for reply in replies
                  ) == sorted(zip(message_ids, (1, 2)))
    assert len({unique_id, *(reply['_unique_id'] for reply in replies)}) == 3


@pytest.mark.parametrize('msg_id', [5, 1.5, {'a': [1]}, [], True])
def test_r2_message_id_of_any_kind_is_given_back(msg_id, echo, raw):
    echo()
    queue = raw.queue()
    raw.request('none', {}, 'compute.host1', reply_q=queue, version='6.0',
                _msg_id=msg_id)
    assert is_same(opened(raw.read(queue)[0].body)['_msg_id'], msg_id)


def test_r10_result_that_is_no_text_arrives_as_text(echo, client):
    echo()
    for raw_bytes, text in (
            (b'boot ok\n\xff\xfe panic', 'boot ok\n\ufffd\ufffd panic'),
            ('gr\u00fc\u00dfe '.encode() + b'\xe4\xf6', 'gr\u00fc\u00dfe ' +
             '\ufffd' * 2),
            (b'cut \xe2\x82', 'cut \ufffd\ufffd'),
            (b'overlong \xc0\xaf', 'overlong \ufffd\ufffd'),
            (b'surrogate \xed\xa0\x80', 'surrogate \ufffd\ufffd\ufffd')):
        assert call(client, 'bytes', hex=raw_bytes.hex()) == text


def test_r11_integers_are_exact(echo, client):
    echo()
    for number in INTEGERS:
        assert is_same(call(client, 'echo', value=number), number)


def test_r11_integers_of_a_real_server_are_exact(own, oslo_server):
    peer(oslo_server, get=lambda *_: INTEGERS)
    args = {str(number): number for number in INTEGERS}
    assert own('call', 'echo', json.dumps(args), to='host2') == [
        {'ok': True, 'result': args}]
    assert own('call', 'get', '{}', to='host2')[0]['result'] == INTEGERS


# ---- Failures we send -------------------------------------------------------

def test_r3_failure_is_rebuilt_by_a_caller_that_allows_it(echo, client):
    echo()
    failure = failure_of(client, 'fail', **{'with': 'InstanceNotFound'})
    assert (failure.name, failure.module) == (
        'InstanceNotFound', 'nova.exception')
    assert failure.rebuilt
    assert failure.message == 'Instance 42 could not be found.'
    assert failure.arguments == ['Instance 42 could not be found.']
    assert failure.kwargs == {'instance_id': '42', 'code': 404}
    assert failure.traceback in ([], [''])


def test_r4_failure_stays_data_at_a_caller_that_does_not(echo, oslo_client):
    echo()
    client = oslo_client(allowed=('x',))
    failure = failure_of(client, 'fail', **{'with': 'InstanceNotFound'})
    assert (failure.name, failure.remote, failure.rebuilt) == (
        'InstanceNotFound', True, False)
    assert failure.message == 'Instance 42 could not be found.'


def test_r5_builtin_failure_is_rebuilt_by_the_caller(echo, client):
    echo()
    failure = failure_of(client, 'fail', **{'with': 'NotImplementedError'})
    assert (failure.name, failure.module, failure.rebuilt) == (
        'NotImplementedError', 'builtins', True)


@pytest.mark.parametrize('method', ['nosuch', '_private', '__init__', ''])
def test_r6_method_that_is_not_there(method, echo, client):
    echo()
    failure = failure_of(client, method)
    assert (failure.name, failure.remote, failure.rebuilt) == (
        'NoSuchMethod', True, False)
    assert failure.message == (
        'Endpoint does not support RPC method ' + method)


@pytest.mark.parametrize('version', ['6.0', '6.1', '5.13', '5.0', '6.0.9',
                                     '5.12.3'])
def test_r7_version_is_served(version, echo, client):
    echo()
    assert call(client, 'none', _version=version) is None


@pytest.mark.parametrize('version, text', [
    ('6.99', '6.99'), ('7.0', '7.0'), ('4.0', '4.0'), ('6.1.1', '6.1.1'),
    ('5.14', '5.14'), (None, '1.0')])
def test_r7_version_is_unsupported(version, text, echo, client):
    echo()
    failure = failure_of(client, 'none', _version=version)
    assert failure.name == 'UnsupportedVersion'
    assert failure.message == (
        'Endpoint does not support RPC version %s. Attempted method: none'
        % text)


def test_r8_baseapi_answers(echo, client):
    echo()
    for version in ('1.0', '1.1'):
        assert call(client, 'ping', _namespace='baseapi', _version=version,
                    arg='x') == {'service': 'compute', 'arg': 'x'}
        assert call(client, 'get_backdoor_port', _namespace='baseapi',
                    _version=version) is None


@pytest.mark.parametrize('namespace, version', [
    ('baseapi', '1.2'), ('nope', '6.0'), ('', '6.0')])
def test_r8_unknown_namespace_reads_as_a_version(
        namespace, version, echo, client):
    echo()
    failure = failure_of(client, 'ping', _namespace=namespace,
                         _version=version, arg='x')
    assert failure.name == 'UnsupportedVersion'
    assert failure.message == (
        'Endpoint does not support RPC version %s. Attempted method: ping'
        % version)


def test_r8_namespace_null_is_none(echo, raw):
    echo()
    queue = raw.queue()
    raw.request('none', {}, 'compute.host1', reply_q=queue, version='6.0',
                namespace=None)
    assert opened(raw.read(queue)[0].body)['failure'] is None


@pytest.mark.parametrize('args, text', [
    ({}, "echo() missing 1 required positional argument: 'value'"),
    ({'value': 1, 'more': 2},
     "echo() got an unexpected keyword argument 'more'"),
    ({'Value': 1}, "echo() got an unexpected keyword argument 'Value'")])
def test_r9_wrong_arguments_are_a_type_error(args, text, echo, client):
    echo()
    failure = failure_of(client, 'echo', **args)
    assert (failure.name, failure.module) == ('TypeError', 'builtins')
    assert failure.message == text


# ---- Failures we get --------------------------------------------------------

def test_r3_failure_of_a_real_server_keeps_its_class(own, oslo_server):
    def find(context, args):
        raise Raise('InstanceNotFound', 'Instance 7 could not be found.',
                    instance_id='7', code=404)

    peer(oslo_server, find=find)
    assert own('call', 'find', '{}', to='host2') == [
        {'ok': False, 'class': 'InstanceNotFound', 'module': 'nova.exception',
         'message': 'Instance 7 could not be found.'}]


@pytest.mark.parametrize('name, module', [
    ('NotImplementedError', 'builtins'), ('Strange', 'a.b.c'),
    ('ComputeHostNotFound', 'nova.exception')])
def test_r5_failure_of_any_class_is_told(name, module, own, oslo_server):
    def go(context, args):
        raise Raise(name, 'it was this', module=module)

    peer(oslo_server, go=go)
    line = own('call', 'go', '{}', to='host2')[0]
    assert (line['ok'], line['class'], line['module']) == (
        False, name, module)
    assert 'it was this' in line['message']


def test_r6_r7_r8_dispatch_errors_of_a_real_server(own, oslo_server):
    peer(oslo_server)
    for method, options, name in (
            ('_private', {}, 'NoSuchMethod'),
            ('echo', {'version': '9.9'}, 'UnsupportedVersion'),
            ('echo', {'options': ('--namespace', 'nope')},
             'UnsupportedVersion')):
        line = own('call', method, '{}', to='host2', **options)[0]
        assert (line['class'], line['module']) == (
            name, 'oslo_messaging.rpc.dispatcher')


def test_r3_result_before_the_end_is_the_old_way(by_hand, raw):
    def answer(request):
        for fields in ({'result': 42, 'ending': False}, {}):
            raw.publish(envelope(reply_to(request, **fields)),
                        request['_reply_q'], **PROPERTIES)

    assert by_hand(answer) == {'ok': True, 'result': 42}


def test_r3_reply_that_is_not_for_this_call_is_let_by(by_hand, raw):
    def answer(request):
        for fields in ({'_msg_id': 'other', 'result': 1},
                       {'_msg_id': None, 'result': 2},
                       {'_msg_id': {}, 'result': 3}, {'result': 'mine'},
                       {'result': 'late'}):
            raw.publish(envelope(reply_to(request, **fields)),
                        request['_reply_q'], **PROPERTIES)

    assert by_hand(answer) == {'ok': True, 'result': 'mine'}


# ---- Failures we pass on ----------------------------------------------------

def relayed(echo, client, raw, **failure):
    """What a caller sees of 'failure' when our service passes it on."""
    echo()
    queue = raw.listen('byhand')
    outer = client.call_async('relay', _server='host1', _version='6.0',
                              topic='byhand', what='find',
                              _context={'request_id': 'req-7'})
    request = opened(raw.read(queue)[0].body)
    assert request['_context_request_id'] == 'req-7'
    raw.publish(envelope(reply_to(request, failure=json.dumps(failure))),
                request['_reply_q'], **PROPERTIES)
    with pytest.raises(Failure) as caught:
        outer.result(10)
    return caught.value


@pytest.mark.parametrize('mark', ['', '_Remote', '_Remote_Remote'])
def test_r12_failure_passed_on_loses_the_mark_of_it(
        mark, echo, client, raw):
    text = 'Instance 7 could not be found.'
    failure = relayed(
        echo, client, raw, **{
            'class': 'InstanceNotFound' + mark,
            'module': 'nova.exception' + mark, 'message': text,
            'tb': ['Traceback (most recent call last):\n'], 'args': [text],
            'kwargs': {'instance_id': '7', 'code': 404}})
    assert (failure.name, failure.module) == (
        'InstanceNotFound', 'nova.exception')
    assert failure.rebuilt
    assert failure.message == text
    assert failure.kwargs == {'instance_id': '7', 'code': 404}


def test_r12_failure_of_a_class_we_do_not_know_is_passed_on(
        echo, client, raw):
    failure = relayed(
        echo, client, raw, **{
            'class': 'Strange_Remote', 'module': 'a.b_Remote',
            'message': 'odd', 'args': ['odd'], 'kwargs': {'n': 3}})
    assert (failure.name, failure.remote, failure.rebuilt) == (
        'Strange', True, False)
    assert failure.message == 'odd'


def test_r12_failure_of_a_real_server_is_passed_on(echo, client, oslo_server):
    def find(context, args):
        raise Raise('ComputeHostNotFound', 'Compute host h1 is not found.',
                    host='h1', code=404)

    oslo_server('conductor', 'host9', {'find': find})
    echo()
    failure = failure_of(client, 'relay', topic='conductor', what='find')
    assert (failure.name, failure.module, failure.rebuilt) == (
        'ComputeHostNotFound', 'nova.exception', True)
    assert failure.kwargs['host'] == 'h1'


# ---- Answers from nobody, and from many -------------------------------------

def test_call_to_nobody_fails_within_seconds(own):
    line = own('call', 'echo', '{}', to='nobody')[0]
    assert line['class'] == 'MessageUndeliverable'


def test_cast_reaches_a_real_server(own, oslo_server):
    server = peer(oslo_server)
    assert own('cast', 'echo', '{"a": 1}', to='host2')[0]['ok']
    assert server.wait_for('echo')['args'] == {'a': 1}


def test_gather_hears_every_host(own, echo):
    for host in ('host1', 'host2', 'host3'):
        echo(host)
    lines = own('gather', 'who', '{}')
    assert sorted(line['result'] for line in lines) == [
        'host1', 'host2', 'host3']


# ---- The context ------------------------------------------------------------

def test_context_reaches_the_method(echo, client):
    echo()
    context = call(client, 'context', _context={'request_id': 'req-1',
                                                'is_admin': True, '': 'what'})
    assert context['request_id'] == 'req-1'
    assert context['is_admin'] is True
    assert context[''] == 'what'


def test_context_of_our_own_work_is_an_admins(own, oslo_server):
    server = peer(oslo_server)
    own('call', 'echo', '{}', to='host2')
    context = server.requests[0]['context']
    assert context['is_admin'] is True
    assert context['request_id'].startswith('req-')
