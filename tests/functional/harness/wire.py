"""A look at every message that somebody sends: a proxy that reads AMQP."""

import collections
import selectors
import socket
import struct
import threading

import pytest
from amqp.basic_message import Message
from amqp.serialization import loads

from .wait import wait_for

METHOD, HEADER, BODY = 1, 2, 3
PUBLISH = (60, 40)

# connection.close with 541, INTERNAL_ERROR.
_CLOSE = struct.pack('>HHHB6sHH', 10, 50, 541, 6, b'poison', 60, 40)
CLOSE = struct.pack('>BHI', METHOD, 0, len(_CLOSE)) + _CLOSE + b'\xce'

# What a client puts into basic.publish, and what follows it.
Published = collections.namedtuple(
    'Published', 'exchange routing_key mandatory immediate properties body')


class _Frames:
    """Takes the bytes of one direction, gives whole frames."""

    def __init__(self):
        self._bytes = bytearray()
        self._has_begun = False

    def feed(self, data):
        self._bytes += data
        if not self._has_begun and self._bytes[:4] == b'AMQP':
            if len(self._bytes) < 8:
                return
            del self._bytes[:8]
        self._has_begun = True
        while len(self._bytes) >= 7:
            kind, channel, size = struct.unpack_from('>BHI', self._bytes)
            if len(self._bytes) < size + 8:
                return
            yield kind, channel, bytes(self._bytes[7:7 + size])
            del self._bytes[:size + 8]


class _Publications:
    """Puts the frames of a client together to what it publishes."""

    def __init__(self, found):
        self._frames = _Frames()
        self._found = found
        self._open = {}

    def feed(self, data):
        for kind, channel, payload in self._frames.feed(data):
            if kind == METHOD:
                self._method(channel, payload)
            elif channel in self._open and kind == HEADER:
                self._header(channel, payload)
            elif channel in self._open and kind == BODY:
                self._open[channel][-1].extend(payload)
                self._close_if_whole(channel)

    def _method(self, channel, payload):
        if struct.unpack_from('>HH', payload) == PUBLISH:
            (_, exchange, key, mandatory, immediate), _ = loads(
                'Bssbb', payload, 4)
            self._open[channel] = [(exchange, key, mandatory, immediate)]

    def _header(self, channel, payload):
        _, _, size = struct.unpack_from('>HHQ', payload)
        message = Message()
        message._load_properties(60, payload, 12)
        self._open[channel] += [size, message.properties, bytearray()]
        self._close_if_whole(channel)

    def _close_if_whole(self, channel):
        fields, size, properties, body = self._open[channel]
        if len(body) >= size:
            del self._open[channel]
            self._found.append(Published(*fields, properties, bytes(body)))


class Wire:
    """Stands before a broker; 'published' is what came through, in order.

    At a message that has the bytes 'poison' in it, it closes the connection as
    a broker does that cannot bear it.
    """

    def __init__(self, broker):
        self.published = []
        self.poison = None
        self.n_poisoned = 0
        self._broker = (broker.address, broker.port)
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(('127.0.0.1', 0))
        self._wakeup, self._end = socket.socketpair()
        self._selector.register(self._listener, selectors.EVENT_READ,
                                self._accept)
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)
        self.url = 'rabbit://guest:guest@127.0.0.1:%d/' % (
            self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def find(self, **fields):
        """What was published with these fields."""
        return [each for each in list(self.published)
                if all(getattr(each, name) == value
                       for name, value in fields.items())]

    def wait_for(self, count=1, deadline=10.0, **fields):
        """The first 'count' that were published with these fields."""
        return wait_for(
            lambda: (lambda hits: len(hits) >= count and hits)(
                self.find(**fields)),
            deadline, lambda: '%d messages with %s; there were: %s' % (
                count, fields, self.published))[:count]

    def _run(self):
        while True:
            for key, _ in self._selector.select():
                if not key.data:
                    return
                if key.fileobj.fileno() >= 0:  # Not closed by the one before.
                    key.data(key.fileobj)

    def _accept(self, listener):
        client, _ = listener.accept()
        broker = socket.create_connection(self._broker)
        for each in (client, broker):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        decoder = _Publications(self.published)
        self._selector.register(client, selectors.EVENT_READ,
                                lambda _: self._pass(client, broker, decoder))
        self._selector.register(broker, selectors.EVENT_READ,
                                lambda _: self._pass(broker, client, None))

    def _pass(self, source, sink, decoder):
        try:
            data = source.recv(1 << 20)
            if data:
                if decoder:
                    decoder.feed(data)
                if not decoder or not self.poison or self.poison not in data:
                    sink.sendall(data)
                    return
                self.n_poisoned += 1
                source.sendall(CLOSE)
        except OSError:
            pass
        for each in (source, sink):
            self._selector.unregister(each)
            each.close()

    def close(self):
        self._end.close()
        self._thread.join(10)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@pytest.fixture
def wire(broker):
    with Wire(broker) as proxy:
        yield proxy
