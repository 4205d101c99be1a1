"""Notifications: conformance tests N1 to N6."""

import json
import re
import uuid

import pytest

from harness.echo import call, echo, own  # noqa: F401
from harness.raw import Raw, opened
from harness.wait import wait_for
from harness.wire import wire  # noqa: F401

PRIORITIES = ('AUDIT', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'CRITICAL', 'SAMPLE')
TOPICS = ('notifications', 'versioned_notifications')


def inner_of(message):
    body = json.loads(message.body)
    return opened(message.body) if 'oslo.message' in body else body


def test_n1_event_of_each_priority_on_both_topics(own, listener):
    for priority in PRIORITIES:
        own('notify', priority, 'it.was_' + priority, '{"host": "host1"}')
    for priority in PRIORITIES:
        events = listener.wait_for('it.was_' + priority, count=2)
        for event in events:
            assert event['payload'] == {'host': 'host1'}
            assert event['priority'] == priority.lower()
            assert event['publisher_id'] == 'echo:here'
            assert event['context']['request_id'].startswith('req-')
            assert str(uuid.UUID(event['message_id'])) == event['message_id']
            assert re.fullmatch(
                r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}', event['timestamp'])
        assert events[0]['message_id'] == events[1]['message_id']
    # Beside what others have left in the queues.
    ours = [name for name in listener.types() if name.startswith('it.was_')]
    assert len(ours) == 2 * len(PRIORITIES)


@pytest.mark.parametrize('payload', [None, [], [1, {'a': 'grüße'}], 'text', 0,
                                     {'a': {'b': None}}], ids=repr)
def test_n1_payload_of_any_kind(payload, own, listener):
    name = 'it.carried_%r' % payload
    own('notify', 'INFO', name, json.dumps(payload))
    assert listener.wait_for(name)['payload'] == payload


def test_n1_each_publication_has_an_id_and_a_key_of_its_own(wire, own):
    own('notify', 'ERROR', 'it.broke', '{}', url=wire.url)
    assert [(message.exchange, message.routing_key)
            for message in wire.published] == [
        ('nova', topic + '.error') for topic in TOPICS]
    inner = [inner_of(message) for message in wire.published]
    assert inner[0]['message_id'] == inner[1]['message_id']
    assert inner[0]['_unique_id'] != inner[1]['_unique_id']
    assert inner[0]['priority'] == 'ERROR'


@pytest.mark.parametrize('driver', ['messaging', 'messagingv2'])
def test_n2_event_before_any_listener_waits_for_one(
        driver, own, oslo_listener, raw):
    topic = 'early_' + driver
    own('notify', 'SAMPLE', 'it.happened', 'null',
        options=('--notify-topic', topic, '--notify-driver', driver))
    wait_for(lambda: raw.depth(topic + '.sample') == 1)
    listener = oslo_listener(topics=[topic])
    assert listener.wait_for('it.happened')['payload'] is None


@pytest.mark.parametrize('driver, forms', [
    ('messaging', ['bare']), ('messagingv2', ['enveloped']),
    ('both', ['bare', 'enveloped']), ('none', [])])
def test_n3_drivers(driver, forms, wire, own):
    assert own('notify', 'INFO', 'it.happened', '{}', url=wire.url,
               options=('--notify-driver', driver)) == []
    for topic in TOPICS:
        messages = wire.find(routing_key=topic + '.info')
        assert ['enveloped' if 'oslo.message' in json.loads(message.body)
                else 'bare' for message in messages] == forms
        assert len({inner_of(message)['message_id']
                    for message in messages}) == bool(forms)
    assert len(wire.published) == len(forms) * len(TOPICS)


def announce(client, host, count):
    """Events from two seconds on, when the broker is gone."""
    client.call('announce', _server=host, _version='6.0', count=count,
                first_ms=2000, every_ms=20)


def test_n4_events_while_the_broker_is_away_come_later_in_order(
        echo, broker, client):
    count = 50
    options = ('--reconnect-max', 500, '--notify-topic')
    roomy = echo('host1', *options, 'roomy')
    narrow = echo('host2', *options, 'narrow', '--queue-bytes', 32768)
    for host in ('host1', 'host2'):
        announce(client, host, count)
    broker.kill()
    try:
        for service in (roomy, narrow):
            # Nobody waits for the broker.
            service.wait_for('announced')
            events = [line['event'] for line in service.lines]
            assert 'down' in events[:events.index('announced')]
            assert not service.status()['publishing']
    finally:
        broker.start()
    with Raw(broker.url) as raw:
        heard = {topic: numbers(raw, topic) for topic in ('roomy', 'narrow')}
        for service in (roomy, narrow):
            wait_for(lambda: service.status()['queued'] == 0)
    assert heard['roomy'] == list(range(count))
    assert roomy.status()['dropped'] == 0
    # The oldest were dropped for want of room, here and on the other topic.
    n_kept = len(heard['narrow'])
    assert 0 < n_kept < count
    assert heard['narrow'] == list(range(count - n_kept, count))
    n_dropped = narrow.status()['dropped']
    assert 2 * (count - n_kept) - 1 <= n_dropped <= 2 * (count - n_kept)


def numbers(raw, topic):
    """What is in the events on a topic, up to the last that was sent."""
    queue = topic + '.info'
    wait_for(lambda: raw.has_queue(queue), 60, interval=0.2)
    messages = raw.read_until(
        queue, lambda message: opened(message.body)['payload']['n'] == 49, 60)
    return [opened(message.body)['payload']['n'] for message in messages]


@pytest.mark.parametrize('driver', ['messaging', 'messagingv2'])
def test_n5_context_tells_no_secret(driver, wire, own):
    own('notify', 'INFO', 'it.happened', '{}', url=wire.url,
        options=('--notify-driver', driver))
    assert len(wire.published) == 2
    for message in wire.published:
        assert b'secret' not in message.body
        inner = inner_of(message)
        assert inner['_context_request_id'].startswith('req-')
        assert inner['_context_auth_token'] is None
        assert not inner.get('_context_service_catalog')
        assert '_context_trace_info' not in inner


def test_n6_event_handed_back_comes_again(own, oslo_listener):
    listener = oslo_listener(topics=['again'], requeue=2)
    names = ['it.happened_%d' % n for n in range(4)]
    for name in names:
        own('notify', 'INFO', name, '{}',
            options=('--notify-topic', 'again'))
    wait_for(lambda: len(listener.events) == len(names) + 2)
    assert set(listener.types()) == set(names)
