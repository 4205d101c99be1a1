"""What goes round a message and what is in it: conformance tests M1 to M10."""

import concurrent.futures
import json
import zlib

import pytest

from harness.echo import (  # noqa: F401
    by_hand, call, echo, own, peer, unharmed)
from harness.raw import PROPERTIES, envelope, opened, reply_to
from harness.wait import wait_for
from harness.wire import wire  # noqa: F401

pytestmark = pytest.mark.usefixtures('unharmed')

VALUES = [
    None, True, False, 0, -1, 1.5, -0.25, 1e300, 2 ** 31, 2 ** 53, 2 ** 53 + 1,
    '', 'grüße \U0001f411', 'quote " and \' and \\ and / and \t\r\n\x01\x7f',
    '\ufeffnot a mark', [], {}, [[1, [2, [None, [[]]]]], {}], {'': 1},
    {'a': {'b': [{'c': None}]}, 'A': 2}, 'x' * 100000]

ZLIB = {'compression': 'application/x-gzip'}


def same(one, other):
    """Equal, and not merely as 1 equals True."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


# ---- Values -----------------------------------------------------------------

def test_m1_values_come_back_as_they_went(echo, client):
    echo()
    for value in VALUES:
        assert same(call(client, 'echo', value=value), value)
    assert same(call(client, 'echo', value=VALUES), VALUES)


def test_m1_values_of_a_real_server_arrive_as_they_left(own, oslo_server):
    peer(oslo_server, all=lambda context, args: VALUES)
    args = {'value': VALUES[:-1]}
    line = own('call', 'echo', json.dumps(args), to='host2')[0]
    assert same(line['result'], args)
    assert same(own('call', 'all', '{}', to='host2')[0]['result'], VALUES)


# ---- Forms of a body, as a request and as a reply ---------------------------

def compact(message):
    """As small as it gets, keys the other way round, UTF-8 as it is."""
    def dump(value):
        return json.dumps(dict(reversed(value.items())), ensure_ascii=False,
                          separators=(',', ':'))
    return dump({'oslo.version': '2.0', 'oslo.message': dump(message)}
                ).encode(), PROPERTIES


def spacious(message):
    return b' \r\n\t' + json.dumps({
        'oslo.version': '2.0', 'oslo.message': json.dumps(message, indent=4)},
        indent=4).encode() + b'\n ', PROPERTIES


def with_least_properties(message):
    return envelope(message), {'content_type': 'application/json'}


def transient(message):
    return envelope(message), {'content_type': 'application/json',
                               'delivery_mode': 1}


def with_wrong_encoding(message):
    return envelope(message), {**PROPERTIES, 'content_encoding': 'binary'}


def bare(message):
    return json.dumps(message).encode(), PROPERTIES


def bare_with_a_version(message):
    return json.dumps({**message, 'oslo.version': '9.9'}).encode(), PROPERTIES


def deflated(message):
    return zlib.compress(envelope(message)), {
        **PROPERTIES, 'application_headers': ZLIB}


def falsely_deflated(message):
    return envelope(message), {**PROPERTIES, 'application_headers': ZLIB}


def strangely_compressed(message):
    return envelope(message), {
        **PROPERTIES, 'application_headers': {'compression': 'x-strange',
                                              'else': 'what'}}


def with_unknown_keys(message):
    body = json.loads(envelope({
        **message, 'new': {'a': [1]}, '_new': None, 'oslo.what': 1}))
    return json.dumps({**body, 'oslo.new': {'b': 2}, 'c': []}).encode(), {
        **PROPERTIES, 'application_headers': {'x': 1}, 'type': 't',
        'app_id': 'a', 'message_id': 'm', 'correlation_id': 'c'}


FORMS = [
    pytest.param(form, id='%s_%s' % (number, form.__name__))
    for number, form in (
        ('m2', compact), ('m2', spacious), ('m3', with_least_properties),
        ('m3', transient), ('m3', with_wrong_encoding), ('m4', bare),
        ('m4', bare_with_a_version), ('m6', deflated),
        ('m7', falsely_deflated), ('m7', strangely_compressed),
        ('m8', with_unknown_keys))]


@pytest.mark.parametrize('form', FORMS)
def test_request_in_another_form_is_answered(form, echo, raw):
    echo()
    queue = raw.queue()
    body, properties = form({
        'method': 'echo', 'args': {'value': 'grüße'}, 'version': '6.0',
        '_msg_id': 'm1', '_reply_q': queue, '_timeout': None,
        '_unique_id': 'u1', '_context_user': 'me'})
    raw.publish(body, 'compute.host1', 'nova', **properties)
    reply = opened(raw.read(queue)[0].body)
    assert (reply['_msg_id'], reply['result']) == ('m1', 'grüße')


@pytest.mark.parametrize('form', FORMS)
def test_reply_in_another_form_is_understood(form, by_hand, raw):
    def answer(request):
        body, properties = form(reply_to(request, result='grüße'))
        raw.publish(body, request['_reply_q'], **properties)

    assert by_hand(answer) == {'ok': True, 'result': 'grüße'}


def test_m6_peer_that_compresses_gets_an_answer_that_is_not(
        wire, echo, oslo_client, broker):
    echo(url=wire.url)
    client = oslo_client(url=broker.url + '?kombu_compression=gzip')
    text = 'x' * 100000
    assert call(client, 'echo', value=text) == text
    reply, = wire.find(exchange='')
    assert reply.properties == {**PROPERTIES, 'application_headers': {}}
    assert opened(reply.body)['result'] == text


def test_m6_server_that_compresses_is_understood(own, oslo_server, broker):
    text = 'x' * 100000
    oslo_server('compute', 'host2', {'get': lambda *_: text},
                endpoints=[(None, '6.0')],
                url=broker.url + '?kombu_compression=gzip')
    assert own('call', 'get', '{}', to='host2')[0]['result'] == text


# ---- Versions of the envelope -----------------------------------------------

UNKNOWN_VERSIONS = ['2.5', '2.0.1', '1.0', '3.0', '2', 'abc', '', 2, 2.0, None,
                    {'a': 1}]


@pytest.mark.parametrize('version', ['2.0', '2.0.0'])
def test_m5_envelope_of_a_known_version_is_opened(version, echo, raw):
    echo()
    queue = raw.queue()
    raw.publish(envelope({'method': 'none', 'version': '6.0', '_msg_id': '1',
                          '_reply_q': queue}, version),
                'compute.host1', 'nova', **PROPERTIES)
    assert opened(raw.read(queue)[0].body)['failure'] is None


def test_m5_envelopes_of_unknown_versions_are_rejected(echo, raw, client):
    service = echo()
    queue = raw.queue()
    for version in UNKNOWN_VERSIONS:
        raw.publish(envelope({'method': 'none', 'version': '6.0',
                              '_msg_id': '1', '_reply_q': queue}, version),
                    'compute.host1', 'nova', **PROPERTIES)
    call(client, 'none', _timeout=5)
    assert raw.depth('compute.host1') == 0
    assert raw.depth(queue) == 0
    counters = service.stop()
    assert counters['rejected'] == len(UNKNOWN_VERSIONS)
    assert counters['executed'] == 1
    # Not requeued: nothing is left once nobody holds it any more.
    assert raw.depth('compute.host1') == 0


def test_m5_replies_of_unknown_versions_are_dropped(by_hand, raw):
    def answer(request):
        for version in UNKNOWN_VERSIONS:
            raw.publish(envelope(reply_to(request, result='bad'), version),
                        request['_reply_q'], **PROPERTIES)
        raw.publish(envelope(reply_to(request, result='good'), '2.0.0'),
                    request['_reply_q'], **PROPERTIES)

    assert by_hand(answer)['result'] == 'good'


# ---- Large bodies -----------------------------------------------------------

LARGE = 8 << 20


def test_m9_large_body_is_answered_and_holds_nobody_up(
        echo, client, oslo_client):
    # A loop that is blocked for so long says so in the log, as an error.
    service = echo('host1', '--watch', 100)
    other = oslo_client()
    text = 'gr\u00fc\u00dfe\n' * (LARGE // 9)
    large = client.call_async('echo', _server='host1', _version='6.0',
                              value=text)
    served = 0
    while not large.done():
        call(other, 'none', _timeout=10)
        served += 1
    assert large.result() == text
    print('%d calls were served meanwhile' % served)
    assert served
    assert '|ERROR|' not in service.log.read_text()


def test_m9_large_result_of_a_real_server_arrives(own, oslo_server):
    text = 'x' * LARGE
    peer(oslo_server, large=lambda *_: text)
    assert own('call', 'large', '{}', to='host2')[0]['result'] == text


# ---- What we send -----------------------------------------------------------

def strict(text):
    """Parses JSON as its definition has it: no NaN, no name twice."""
    def refuse(constant):
        raise AssertionError(constant)

    def unique(pairs):
        assert len(dict(pairs)) == len(pairs), pairs
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=unique)


def checked(message, is_bare=False, has_expiration=False):
    """The inner message of what we published, the outer part being right."""
    properties = dict(message.properties)
    if has_expiration:
        assert 59000 < int(properties.pop('expiration')) <= 60000
    assert properties == {**PROPERTIES, 'application_headers': {}}
    assert not message.immediate
    inner = strict(message.body.decode('utf-8'))
    if is_bare:
        return inner
    assert set(inner) == {'oslo.version', 'oslo.message'}
    assert inner['oslo.version'] == '2.0'
    return strict(inner['oslo.message'])


def is_id(text):
    return len(text) == 32 and not set(text) - set('0123456789abcdef')


def test_m10_replies_keepalives_and_failures_on_the_wire(wire, echo, client):
    echo(url=wire.url)
    value = 'grüße \U0001f411 \x01'
    assert call(client, 'echo', value=value) == value
    assert call(client, 'bytes', hex='ff00c3') == '\ufffd' * 3
    call(client, 'sleep', seconds=1.2, _call_monitor_timeout=2)
    for method in ('nosuch', 'fail'):
        with pytest.raises(Exception):
            call(client, method)
    replies = [checked(message) for message in wire.published]
    for reply in replies:
        assert sorted(reply) == ['_msg_id', '_unique_id', 'ending', 'failure',
                                 'result']
        assert is_id(reply['_unique_id'])
    assert all(message.mandatory and message.exchange == '' and
               message.routing_key.startswith('reply_')
               for message in wire.published)
    assert [reply['ending'] for reply in replies] == [
        True, True, False, True, True, True]
    assert (replies[2]['result'], replies[2]['failure']) == (None, None)
    for reply in replies[4:]:
        assert sorted(strict(reply['failure'])) == [
            'args', 'class', 'kwargs', 'message', 'module', 'tb']


def test_m10_calls_and_casts_on_the_wire(wire, own, oslo_server):
    peer(oslo_server, who=lambda *_: 'host2')
    for options in ((), ('--monitor', '4'), ('--namespace', 'nope')):
        own('call', 'echo', '{"a": "grüße"}', to='host2', options=options,
            url=wire.url)
    own('cast', 'echo', '{"a": 1}', url=wire.url)
    *calls, cast = wire.published
    base = {'method', 'args', 'version', '_unique_id'}
    for message, timeout, more in zip(calls, (None, 4, None),
                                      (set(), set(), {'namespace'})):
        assert message.mandatory
        assert (message.exchange, message.routing_key) == (
            'nova', 'compute.host2')
        request = checked(message, has_expiration=True)
        assert {key for key in request if not key.startswith('_context_')} == {
            *base, *more, '_msg_id', '_reply_q', '_timeout'}
        assert request['_timeout'] == timeout
        assert is_id(request['_msg_id']) and is_id(request['_unique_id'])
        assert request['_msg_id'] != request['_unique_id']
        assert request['_reply_q'].startswith('reply_')
        assert request['_context_is_admin'] is True
    request = checked(cast)
    assert (cast.exchange, cast.routing_key) == ('nova', 'compute')
    assert {key for key in request if not key.startswith('_context_')} == base


def test_m10_fanouts_on_the_wire(wire, own, echo):
    echo()
    own('gather', 'who', '{}', url=wire.url)
    message, = wire.published
    assert (message.exchange, message.routing_key) == ('compute_fanout', '')
    assert not message.mandatory
    checked(message, has_expiration=True)


@pytest.mark.parametrize('driver', ['messaging', 'messagingv2'])
def test_m10_notifications_on_the_wire(driver, wire, own):
    own('notify', 'WARN', 'it.happened', '{"a": "grüße"}', url=wire.url,
        options=('--notify-driver', driver))
    wait_for(lambda: len(wire.published) == 2)
    for message in wire.published:
        assert not message.mandatory and message.exchange == 'nova'
        inner = checked(message, is_bare=driver == 'messaging')
        assert {key for key in inner if not key.startswith('_context_')} == {
            'message_id', 'publisher_id', 'event_type', 'priority', 'payload',
            'timestamp', '_unique_id'}
        assert is_id(inner['_unique_id'])


def test_m10_no_byte_makes_a_message_that_is_not_utf8(wire, echo, client):
    echo(url=wire.url)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(
            lambda byte: call(client, 'bytes', hex='%02x' % byte),
            range(256)))
    results = [checked(message)['result'] for message in wire.published]
    assert len(results) == 256
    assert all(len(result) == 1 for result in results)
