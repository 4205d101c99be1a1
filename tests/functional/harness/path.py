"""The network between an agent and its broker, to be cut, held up and mended."""

import fcntl
import selectors
import socket
import struct
import termios
import threading
import time

from .wait import wait_for

# The least time to live that a packet must have for the kernel to take it from
# the network (ip(7)).  What is sent on this machine has 64: with 255 all of it
# vanishes before TCP sees it, without acknowledgement or reset, as if the cable
# had been cut.
IP_MINTTL = 21
ALL, NONE = 0, 255


def _unacknowledged(sock):
    """Bytes that were sent and not yet acknowledged."""
    return struct.unpack('i', fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]


class Path:
    """Forwards connections to a port; all of it on one thread.

    pass    what comes goes on
    hold    connections stand and are accepted, but nothing goes on: to the
            agent it looks like a broker that hangs
    cut     packets from the agent vanish, and none come
    """

    def __init__(self, broker):
        self._to = (broker.address, broker.port)
        self._listener = socket.create_server((broker.address, 0))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self.url = broker.url.replace(':%d/' % broker.port,
                                      ':%d/' % self.port)
        self._lock = threading.Lock()
        self._mode = 'pass'
        self._peers = {}      # Socket to the one that it is forwarded to.
        self._clients = set()
        self._sent = {}
        self._ended = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def hold(self):
        with self._lock:
            self._mode = 'hold'

    def cut(self):
        with self._lock:
            # What is not acknowledged would be sent again and again.
            wait_for(lambda: not any(map(_unacknowledged, self._clients)))
            self._mode = 'cut'
            for sock in (self._listener, *self._clients):
                sock.setsockopt(socket.IPPROTO_IP, IP_MINTTL, NONE)

    def mend(self):
        with self._lock:
            if self._mode == 'cut':
                for sock in (self._listener, *self._clients):
                    sock.setsockopt(socket.IPPROTO_IP, IP_MINTTL, ALL)
            self._mode = 'pass'

    def waiting(self):
        """How many connections wait to be accepted by a path that holds."""
        port = '%04X' % self.port
        with open('/proc/net/tcp', encoding='ascii') as table:
            # What the agent's end, established, calls the other's address.
            to = sum(line.split()[2].endswith(':' + port) and
                     line.split()[3] == '01' for line in table)
        with self._lock:
            return to - len(self._clients)

    def sent(self):
        """When each agent's end sent something, a list for each."""
        with self._lock:
            return [list(times) for times in self._sent.values()]

    def forget(self):
        with self._lock:
            self._sent.clear()

    def close(self):
        self._ended = True
        self._thread.join(10)
        for sock in [self._listener, *self._peers]:
            sock.close()
        self._selector.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _run(self):
        while not self._ended:
            ready = self._selector.select(0.05)
            with self._lock:
                if self._mode == 'pass':
                    for key, _ in ready:
                        self._move(key.fileobj)
            if self._mode != 'pass':
                # What is ready stays so: no hurry until it is mended.
                threading.Event().wait(0.02)

    def _move(self, sock):
        if sock is self._listener:
            self._accept()
            return
        if sock not in self._peers:
            return
        try:
            data = sock.recv(65536)
        except OSError:
            data = b''
        try:
            if data:
                if sock in self._clients:
                    self._sent.setdefault(sock, []).append(time.monotonic())
                peer = self._peers[sock]
                peer.setblocking(True)
                peer.settimeout(5)
                peer.sendall(data)
                return
        except OSError:
            pass
        self._drop(sock)

    def _accept(self):
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(self._to, 5)
        except OSError:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                              struct.pack('ii', 1, 0))
            client.close()
            return
        self._clients.add(client)
        self._peers.update({client: server, server: client})
        for sock in (client, server):
            self._selector.register(sock, selectors.EVENT_READ)

    def _drop(self, sock):
        peer = self._peers[sock]
        for each in (sock, peer):
            self._selector.unregister(each)
            del self._peers[each]
            self._clients.discard(each)
            each.close()
