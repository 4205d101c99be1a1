"""Every message on the broker, in a file, one JSON object a line.

It comes from the broker's own firehose, which has to be turned on
("rabbitmqctl trace_on").  What it writes:

    ts             seconds since the epoch
    from           who published: hosta, hostb or controller
    connection     the same, with the port
    exchange, routing_key, properties
    body           as published, if it is JSON; else body_text
    oslo_message   the message in its envelope

Run as: bus_recorder.py URL FILE
"""

import json
import pathlib
import re
import sys
import time
import urllib.parse

import amqp

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from cloud.places import NAMES  # noqa: E402


def plain(value):
    """What AMQP gave, as JSON can say it."""
    if isinstance(value, bytes):
        return value.decode('utf-8', 'replace')
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, (int, float, str, bool)) or value is None:
        return value
    return str(value)


def record_of(message):
    headers = plain(message.headers)
    record = {'ts': round(time.time(), 6)}
    match = re.match(r'([\d.]+):(\d+)', str(headers.get('connection', '')))
    if match:
        record['from'] = NAMES.get(match.group(1), match.group(1))
        record['connection'] = record['from'] + ':' + match.group(2)
    record['exchange'] = headers.get('exchange_name', '')
    record['routing_key'] = (headers.get('routing_keys') or [''])[0]
    record['properties'] = headers.get('properties', {})
    text = plain(message.body)
    try:
        record['body'] = json.loads(text)
        record['oslo_message'] = json.loads(record['body']['oslo.message'])
    except (KeyError, TypeError, ValueError):
        record.setdefault('body_text', text)
    return record


def main(url, path):
    parts = urllib.parse.urlsplit(url)
    connection = amqp.Connection(
        host='%s:%d' % (parts.hostname, parts.port), userid=parts.username,
        password=parts.password, heartbeat=0)
    connection.connect()
    channel = connection.channel()
    queue = channel.queue_declare('', exclusive=True, auto_delete=True).queue
    channel.queue_bind(queue, 'amq.rabbitmq.trace', 'publish.#')
    with open(path, 'a', encoding='utf-8', buffering=1) as output:
        channel.basic_consume(
            queue, no_ack=True, callback=lambda message: output.write(
                json.dumps(record_of(message)) + '\n'))
        while True:
            connection.drain_events()


if __name__ == '__main__':
    main(*sys.argv[1:])
