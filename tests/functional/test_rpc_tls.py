"""rpc/link over TLS: in front of the broker stands what ends it."""

import select
import socket
import ssl
import threading

import pytest

from harness.echo import echo, run_client  # noqa: F401
from harness.process import run
from harness.wait import wait_for


class TlsFront:
    """Listens with TLS and passes on to the broker what it says."""

    def __init__(self, broker, certificate, is_old=False):
        self._broker = broker
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        if is_old:
            self._context.set_ciphers('DEFAULT:@SECLEVEL=0')
            self._context.options |= ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3
            self._context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port = self._listener.getsockname()[1]
        self._ends = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, host):
        return self._broker.url.replace(
            '127.0.0.1:%d' % self._broker.port, '%s:%d' % (host, self.port))

    def close(self):
        self._ends.set()
        self._listener.close()

    def _accept(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,),
                             daemon=True).start()

    def _serve(self, peer):
        try:
            with self._context.wrap_socket(peer, server_side=True) as front, \
                    socket.create_connection(
                        ('127.0.0.1', self._broker.port)) as back:
                self._pass_on(front, back)
        except OSError:
            pass

    def _pass_on(self, front, back):
        while not self._ends.is_set():
            ready = [front] if front.pending() else select.select(
                [front, back], [], [], 0.2)[0]
            for one in ready:
                data = one.recv(65536)
                if not data:
                    return
                (back if one is front else front).sendall(data)


class Authority:
    """Signs certificates for names."""

    def __init__(self, directory, name):
        self._directory = directory
        self._name = name
        self.file = directory / (name + '.pem')
        self._key = directory / (name + '.key')
        run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes',
             '-days', '2', '-subj', '/CN=' + name, '-keyout', self._key,
             '-out', self.file])

    def certificate(self, subject):
        """A file with key and certificate for 'subject', "DNS:name"."""
        stem = self._directory / ('%s-%s' % (
            self._name, subject.replace(':', '-')))
        key, ask, cert = (stem.with_suffix(end)
                          for end in ('.key', '.csr', '.crt'))
        extensions = stem.with_suffix('.ext')
        extensions.write_text('subjectAltName=%s\n' % subject)
        run(['openssl', 'req', '-newkey', 'rsa:2048', '-nodes', '-subj',
             '/CN=broker', '-keyout', key, '-out', ask])
        run(['openssl', 'x509', '-req', '-days', '2', '-in', ask,
             '-CA', self.file, '-CAkey', self._key, '-CAcreateserial',
             '-extfile', extensions, '-out', cert])
        both = stem.with_suffix('.both')
        both.write_text(key.read_text() + cert.read_text())
        return both


@pytest.fixture(scope='module')
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp('ca'), 'good')


@pytest.fixture
def front(broker):
    """Makes what stands in front of the broker."""
    fronts = []

    def make(certificate, **options):
        fronts.append(TlsFront(broker, certificate, **options))
        return fronts[-1]

    yield make
    for each in fronts:
        each.close()


@pytest.mark.parametrize('host, subject', [
    ('localhost', 'DNS:localhost'), ('127.0.0.1', 'IP:127.0.0.1')])
def test_verified_broker_is_served(host, subject, authority, front, echo):
    url = front(authority.certificate(subject)).url(host)
    echo('host1', '--ca', authority.file, url=url)
    long = 'x' * 100000  # Several TLS records.
    assert run_client(url, '--ca', str(authority.file), '--version', '6.0',
                      '--to', 'host1', 'call', 'echo',
                      '{"value": ["%s"]}' % long) == [
        {'ok': True, 'result': [long]}]


def refused(echo, why, *options, url):
    service = echo('host1', *options, url=url, ready=False)
    wait_for(lambda: why in service.log.read_text().lower(), 20,
             lambda: service.log.read_text())
    assert not service.find('up')
    service.kill()


def test_broker_of_another_authority_is_refused(authority, front, echo,
                                                tmp_path):
    other = Authority(tmp_path, 'other')
    url = front(other.certificate('DNS:localhost')).url('localhost')
    refused(echo, 'peer cert verification failed', '--ca', authority.file,
            url=url)


def test_broker_of_another_name_is_refused_unless_told_not_to(
        authority, front, echo):
    url = front(authority.certificate('DNS:elsewhere')).url('localhost')
    refused(echo, 'peer cert verification failed', '--ca', authority.file,
            url=url)
    echo('host1', '--ca', authority.file, '--any-name', url=url)


def test_plain_broker_is_not_spoken_to_in_tls(authority, broker, echo):
    refused(echo, 'ssl', '--ca', authority.file, url=broker.url)


def test_old_tls_is_refused(authority, front, echo):
    url = front(authority.certificate('DNS:localhost'),
                is_old=True).url('localhost')
    refused(echo, 'ssl', '--ca', authority.file, url=url)
