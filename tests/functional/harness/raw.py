"""Bytes and properties of one's own choice, on the bus."""

import json
import socket
import struct
import time
import urllib.parse
import uuid

import amqp


# What peers give along with a message.
PROPERTIES = {'content_type': 'application/json', 'content_encoding': 'utf-8',
              'delivery_mode': 2, 'priority': 0}


def envelope(message, version='2.0'):
    """The body of an RPC message: 'message' in its envelope."""
    return json.dumps({'oslo.version': version,
                       'oslo.message': json.dumps(message)}).encode()


def opened(body):
    """The message in the envelope."""
    return json.loads(json.loads(body)['oslo.message'])


def reply_to(request, **fields):
    """A reply as peers make it, with some 'fields' replaced."""
    return {'result': None, 'failure': None, 'ending': True,
            '_msg_id': request['_msg_id'], '_unique_id': uuid.uuid4().hex,
            **fields}


class Raw:
    """A connection that publishes anything and reads whole messages."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self._connection = amqp.Connection(
            host='%s:%d' % (parts.hostname, parts.port),
            userid=parts.username, password=parts.password,
            virtual_host=parts.path.strip('/') or '/', connect_timeout=10)
        self._connection.connect()
        self.channel = self._connection.channel()
        self.returned = []
        self.channel.events['basic_return'].add(
            lambda *returned: self.returned.append(returned))

    def close(self):
        self._connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def publish(self, body, routing_key, exchange='', mandatory=False,
                **properties):
        """Publishes 'body', bytes, with just the properties given."""
        self.channel.basic_publish(
            amqp.Message(body, **properties), exchange, routing_key,
            mandatory=mandatory)

    def request(self, method, args=None, routing_key=None, exchange='nova',
                reply_q=None, properties=None, **fields):
        """Publishes a request made by hand; returns its message id."""
        message = {'method': method, 'args': args or {},
                   '_unique_id': uuid.uuid4().hex, **fields}
        if reply_q:
            message.setdefault('_msg_id', uuid.uuid4().hex)
            message.setdefault('_reply_q', reply_q)
        self.publish(envelope(message), routing_key, exchange,
                     **(properties or PROPERTIES))
        return message.get('_msg_id')

    def blast(self, bodies, routing_key, exchange='nova',
              content_type='application/json'):
        """Publishes many small messages as fast as the broker takes them."""
        def short(text):
            return bytes([len(text)]) + text.encode()

        def frame(kind, payload):
            return (struct.pack('>BHI', kind, self.channel.channel_id,
                                len(payload)) + payload + b'\xce')

        method = frame(1, struct.pack('>HHH', 60, 40, 0) + short(exchange) +
                       short(routing_key) + b'\0')
        room = []
        for body in bodies:
            room += [method,
                     frame(2, struct.pack('>HHQH', 60, 0, len(body), 0x8000) +
                           short(content_type)),
                     frame(3, body)]
            if len(room) >= 3000:
                self._connection.transport.write(b''.join(room))
                room.clear()
        self._connection.transport.write(b''.join(room))

    def queue(self, name='', **options):
        """Declares a queue and returns its name."""
        return self.channel.queue_declare(
            name, auto_delete=options.pop('auto_delete', True),
            **options).queue

    def listen(self, routing_key, exchange='nova'):
        """A new queue bound to the exchange, which need not exist yet."""
        queue = self.queue()
        self.channel.exchange_declare(exchange, 'topic', durable=False,
                                      auto_delete=False)
        self.channel.queue_bind(queue, exchange, routing_key)
        return queue

    def depth(self, queue):
        """How many messages wait in it that nobody was given."""
        return self.channel.queue_declare(queue, passive=True).message_count

    def consumers(self, queue):
        return self.channel.queue_declare(queue, passive=True).consumer_count

    def has_queue(self, name):
        return self._has(lambda channel: channel.queue_declare(
            name, passive=True))

    def has_exchange(self, name):
        return self._has(lambda channel: channel.exchange_declare(
            name, 'direct', passive=True))

    def _has(self, declare):
        # A refusal closes the channel.
        channel = self._connection.channel()
        try:
            declare(channel)
            channel.close()
            return True
        except amqp.NotFound:
            return False

    def read_until(self, queue, is_last, deadline=10.0):
        """Takes messages from 'queue' up to one for which 'is_last'."""
        messages = []
        while not any(is_last(message) for message in messages):
            messages += self.read(queue, deadline=deadline)
        return messages

    def read(self, queue, count=1, deadline=10.0):
        """Takes 'count' messages from 'queue', or more, and returns them.

        Each has 'body', 'properties' and 'delivery_info'.
        """
        messages = []
        tag = self.channel.basic_consume(
            queue, callback=messages.append, no_ack=True)
        end = time.monotonic() + deadline
        try:
            while len(messages) < count:
                self._connection.drain_events(
                    timeout=max(0.001, end - time.monotonic()))
        except socket.timeout:
            raise AssertionError('%d of %d messages in %s within %g s' % (
                len(messages), count, queue, deadline)) from None
        finally:
            self.channel.basic_cancel(tag)
        return messages

    def drain(self, seconds):
        """Waits for one event and has it taken; TimeoutError: none came."""
        self._connection.drain_events(timeout=max(0.001, seconds))
