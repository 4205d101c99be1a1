"""Addresses, passwords, TLS: how a connection comes about, or why it does not.

Numbers are those of the conformance tests, C6 to C9 and C12.
"""

import contextlib
import select
import socket
import ssl
import threading
import time

import pytest

from harness.broker import Broker, free_ports
from harness.echo import echo, program, run_client  # noqa: F401
from harness.process import run

from harness.wait import wait_for

WORKS = [{'ok': True, 'result': 1}]


# ---- Certificates, brokers and what stands before them -----------------------

class Authority:
    """Signs certificates."""

    def __init__(self, directory, name):
        self._directory = directory
        self._name = name
        self.file = directory / (name + '.pem')
        self._key = directory / (name + '.key')
        run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes',
             '-days', '2', '-subj', '/CN=' + name, '-keyout', self._key,
             '-out', self.file])

    def certificate(self, *subjects, name='broker'):
        """A file with key and certificate for 'subjects' ("DNS:host")."""
        stem = self._directory / '-'.join(
            [self._name, name, *subjects]).replace(':', '-')
        key, ask, cert, extensions, both = (
            stem.parent / (stem.name + end)
            for end in ('.key', '.csr', '.crt', '.ext', '.both'))
        if not both.exists():
            extensions.write_text('subjectAltName=%s\n' % ','.join(subjects)
                                  if subjects else '')
            run(['openssl', 'req', '-newkey', 'rsa:2048', '-nodes', '-subj',
                 '/CN=' + name, '-keyout', key, '-out', ask])
            run(['openssl', 'x509', '-req', '-days', '2', '-in', ask,
                 '-CA', self.file, '-CAkey', self._key, '-CAcreateserial',
                 '-extfile', extensions, '-out', cert])
            both.write_text(key.read_text() + cert.read_text())
        return both


@pytest.fixture(scope='session')
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp('ca'), 'good')


@pytest.fixture(scope='session')
def other_authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp('ca'), 'other')


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(('::1', 0))
        return True
    except OSError:
        return False


# Who may log in where; the names are hard to write in a URL.
USERS = {'guest': '', 'agent': 'x', 'a@b': 'p', 'u:': 'p@ss:/,?#%',
         'plus+': 'a+b', 'barred': 'x'}
VHOSTS = ('vh', 'a/b', 'v h', '/vh')


@pytest.fixture(scope='module')
def secure(run_directory, authority):
    """A broker of its own that speaks TLS, too, and knows certificates."""
    port = free_ports(4)
    broker = Broker(run_directory / 'secure', port=port)
    broker.directory.mkdir()
    certificate = authority.certificate('DNS:localhost', 'IP:127.0.0.1')
    (broker.directory / 'plugins').write_text('[rabbitmq_auth_mechanism_ssl].')
    (broker.directory / 'more.conf').write_text('''
listeners.ssl.1 = 127.0.0.1:%d
ssl_options.cacertfile = %s
ssl_options.certfile = %s
ssl_options.keyfile = %s
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
ssl_cert_login_from = common_name
auth_mechanisms.1 = EXTERNAL
auth_mechanisms.2 = PLAIN
auth_mechanisms.3 = AMQPLAIN
%s''' % (port + 3, authority.file, certificate, certificate,
         'listeners.tcp.2 = ::1:%d\n' % port if has_ipv6() else ''))
    try:
        broker.start()
        broker.ctl('eval', '''
            Vhosts = [<<"/">>, %s],
            [rabbit_vhost:add(V, <<"guest">>) || V <- tl(Vhosts)],
            [rabbit_auth_backend_internal:add_user(U, P, <<"guest">>)
             || {U, P} <- [%s]],
            [rabbit_auth_backend_internal:set_permissions(
               U, V, <<".*">>, <<".*">>, <<".*">>, <<"guest">>)
             || V <- Vhosts, U <- [%s]].''' % (
                ', '.join('<<"%s">>' % name for name in VHOSTS),
                ', '.join('{<<"%s">>, <<"%s">>}' % pair
                          for pair in USERS.items() if pair[1]),
                ', '.join('<<"%s">>' % name for name in USERS
                          if name != 'barred')))
        yield broker
    finally:
        broker.kill()


def tls_url(broker, credentials='guest:guest', host='localhost', **options):
    return 'rabbit://%s@%s:%d/?%s' % (
        credentials, host, broker.port + 3,
        '&'.join('%s=%s' % pair for pair in {'ssl': 1, **options}.items()))


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
        self._context.sni_callback = self._named
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port = self._listener.getsockname()[1]
        self.versions = set()
        self.names = set()
        self._ends = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _named(self, _socket, name, _context):
        self.names.add(name)

    def url(self, host='localhost', credentials='guest:guest', **options):
        return 'rabbit://%s@%s:%d/?%s' % (
            credentials, host, self.port,
            '&'.join('%s=%s' % pair
                     for pair in {'ssl': 1, **options}.items()))

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
                self.versions.add(front.version())
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


def log_of(service):
    return service.log.read_text(errors='replace')


def assert_refused(echo, why, *, url, **more):
    """It goes on trying, and says what is wrong."""
    service = echo(url=url, ready=False, **more)
    wait_for(lambda: why in log_of(service), 20, lambda: log_of(service))
    assert 'connect to ' in log_of(service)
    assert not service.find('up')
    service.stop()


def call_own(url, host='host1', value='1'):
    return run_client(url, '--version', '6.0', '--to', host, 'call', 'echo',
                      '{"value": %s}' % value)


# ---- C6, C7: passwords and hosts ---------------------------------------------

def test_c6_wrong_password_is_retried_until_it_is_right(echo, broker, client):
    url = broker.url.replace('guest:guest', 'late:secret')
    service = echo(url=url, ready=False)
    wait_for(lambda: 'ACCESS_REFUSED' in log_of(service), 20)
    assert 'secret' not in log_of(service)
    broker.ctl('eval', '''
        rabbit_auth_backend_internal:add_user(
          <<"late">>, <<"secret">>, <<"guest">>),
        rabbit_auth_backend_internal:set_permissions(
          <<"late">>, <<"/">>, <<".*">>, <<".*">>, <<".*">>, <<"guest">>).''')
    service.wait_for('up', deadline=60)
    assert client.call('echo', _server='host1', _version='6.0', value=1) == 1
    service.stop()
    broker.ctl('delete_user', 'late')


@pytest.mark.parametrize('strategy', ['round-robin', 'shuffle'])
def test_c7_dead_hosts_of_the_list_are_passed_over(strategy, echo, broker):
    """In the first round: a second would begin with a wait."""
    url = ('rabbit://guest:guest@127.0.0.1:1,guest:guest@127.0.0.1:%d,'
           'guest:guest@[::1]:2/?kombu_failover_strategy=%s&'
           'rabbit_retry_interval=3600&rabbit_interval_max=3600' % (
               broker.port, strategy))
    service = echo(url=url)
    assert service.status()['connects'] == 2


# ---- C8: transport_url -------------------------------------------------------

# What a URL is to mean: user and virtual host.  Those without a port, and
# those that this broker cannot have, are in tests/unit/test_transport_url.c.
MEANINGS = [
    ('rabbit://HOST', 'guest', '/'),
    ('rabbit://HOST/', 'guest', '/'),
    ('rabbit://HOST//', 'guest', '/'),
    ('rabbit://HOST/%2F', 'guest', '/'),
    ('RABBIT://HOST/vh', 'guest', 'vh'),
    ('rabbit://HOST/a/b', 'guest', 'a/b'),
    ('rabbit://HOST/v%20h', 'guest', 'v h'),
    ('rabbit://HOST/%2Fvh', 'guest', '/vh'),
    ('rabbit://agent:x@HOST/vh?heartbeat_timeout_threshold=9', 'agent', 'vh'),
    ('rabbit://a@b:p@HOST', 'a@b', '/'),
    ('rabbit://u%3A:p%40ss%3A%2F%2C%3F%23%@HOST', 'u:', '/'),
    ('rabbit://plus+:a+b@HOST', 'plus+', '/'),
    ('rabbit://,,agent:x@HOST,,/vh', 'agent', 'vh'),
    ('rabbit://nobody:x@HOST,HOST/vh', 'guest', 'vh'),
    ('rabbit://agent:x@[::1]:PORT/vh', 'agent', 'vh'),
    ('rabbit://HOST?rabbit_login_method=PLAIN', 'guest', '/'),
    ('rabbit://HOST?rabbit_login_method=AMQPLAIN', 'guest', '/'),
]


def test_c8_every_form_of_url_reaches_what_it_means(secure, echo):
    address = '127.0.0.1:%d' % secure.port
    rows = [row for row in MEANINGS if '[' not in row[0] or has_ipv6()]
    services = [
        echo('row%d' % number, ready=False,
             url=text.replace('HOST', address).replace(
                 'PORT', str(secure.port)))
        for number, (text, _, _) in enumerate(rows)]
    for service in services:
        service.wait_for('up')
    found = {}
    for each in secure.list('connections', 'user', 'vhost',
                            'client_properties'):
        name = str(each['client_properties'])
        for service in services:
            if 'rpc_echo:%d:' % service.process.pid in name:
                found.setdefault(service.host, []).append(
                    (each['user'], each['vhost']))
    for number, (text, user, vhost) in enumerate(rows):
        assert found['row%d' % number] == [(user, vhost)] * 2, text


@pytest.mark.parametrize('url, says', [
    ('kombu://u:secret@h', "begin with 'rabbit://'"),
    ('amqp://u:secret@h', "begin with 'rabbit://'"),
    ('rabbits://u:secret@h', "begin with 'rabbit://'"),
    ('rabbit://u:secret,x@h', 'host 1: its port'),
    ('rabbit://u:secret/x@h', 'its port is no number'),
    ('rabbit://u:secret?x@h', 'its port is no number'),
    ('rabbit://u:secret#x@h', 'its port is no number'),
    ('rabbit://u:secret@h:70000', 'its port is no number'),
    ('rabbit://u:secret@[::1', 'a bracket is not closed'),
    ('rabbit://u:secret@h/?ssl=1&ssl=0', "option 'ssl': must be true"),
    ('rabbit://u:secret@h/?nonsense=1', "option 'nonsense': there is no"),
    ('rabbit://u:secret@h/?heartbeat_rate=x', 'must be an integer'),
    ('rabbit://u:secret@h/?rabbit_login_method=RABBIT-CR-DEMO', 'use PLAIN'),
    ('rabbit://u:secret@h/?rabbit_login_method=EXTERNAL', 'needs ssl'),
    ('rabbit://u:secret@h/?ssl_version=TLSv1', 'use TLSv1_2')])
def test_c8_bad_url_ends_the_start_without_the_password(url, says):
    done = run([program(), '--url', url, 'serve'], check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert 'secret' not in done.stderr


def test_c8_hosts_without_a_user_among_others_are_warned_of(echo, broker):
    service = echo(url='rabbit://guest:guest@127.0.0.1:%d,127.0.0.1:1/?ssl=0'
                   % broker.port)
    assert "these get 'guest'" in log_of(service)


def test_c8_default_port_is_that_of_amqp(echo):
    assert_refused(echo, "'nowhere.invalid:5672'",
                   url='rabbit://nowhere.invalid')


# ---- C9: TLS -----------------------------------------------------------------

@pytest.mark.parametrize('host, subject', [
    ('localhost', 'DNS:localhost'), ('localhost', 'DNS:*.x,DNS:localhost'),
    ('127.0.0.1', 'IP:127.0.0.1')])
def test_c9_verified_broker_is_served(host, subject, authority, front, echo):
    before = front(authority.certificate(*subject.split(',')))
    url = before.url(host, ssl_ca_file=authority.file)
    echo(url=url)
    long = '["%s"]' % ('x' * 100000)  # Several TLS records.
    assert call_own(url, value=long) == [
        {'ok': True, 'result': ['x' * 100000]}]
    assert before.versions == {'TLSv1.3'}
    if host == 'localhost':
        assert before.names == {'localhost'}


@pytest.mark.parametrize('host, subject', [
    ('localhost', 'DNS:elsewhere'), ('127.0.0.1', 'DNS:127.0.0.1'),
    ('127.0.0.1', 'IP:127.0.0.2')])
def test_c9_broker_of_another_name_is_refused_unless_told_not_to(
        host, subject, authority, front, echo):
    before = front(authority.certificate(subject))
    why = 'hostname mismatch' if host == 'localhost' else 'IP address mismatch'
    assert_refused(echo, why + " (certificate of '/CN=broker', by authority "
                   "'/CN=good')",
                   url=before.url(host, ssl_ca_file=authority.file))
    echo(url=before.url(host, ssl_ca_file=authority.file,
                        ssl_enforce_hostname_verification=0))


def test_c9_broker_of_another_authority_is_refused(
        authority, other_authority, front, echo):
    before = front(other_authority.certificate('DNS:localhost'))
    assert_refused(echo, 'unable to get local issuer certificate',
                   url=before.url(ssl_ca_file=authority.file))


def test_c9_without_an_authority_it_is_the_systems(authority, front, echo):
    """Whatever the name: that has to be asked for with the authority."""
    before = front(authority.certificate('DNS:elsewhere'))
    assert_refused(echo, 'unable to get local issuer certificate',
                   url=before.url())
    echo(url=before.url(), environment={'SSL_CERT_FILE': str(authority.file)})


@pytest.mark.parametrize('name, version', [
    ('TLSv1_2', 'TLSv1.2'), ('TLSv1_3', 'TLSv1.3'), ('SSLv23', 'TLSv1.3')])
def test_c9_version_of_tls_can_be_chosen(name, version, authority, front,
                                         echo):
    before = front(authority.certificate('DNS:localhost'))
    echo(url=before.url(ssl_ca_file=authority.file, ssl_version=name))
    assert before.versions == {version}


@pytest.mark.filterwarnings('ignore:ssl.OP_NO:DeprecationWarning')
def test_c9_old_tls_is_refused(authority, front, echo):
    before = front(authority.certificate('DNS:localhost'), is_old=True)
    assert_refused(echo, 'protocol version',
                   url=before.url(ssl_ca_file=authority.file))


def test_c9_plain_broker_is_not_spoken_to_in_tls(authority, broker, echo):
    assert_refused(echo, 'wrong version number',
                   url=broker.url + '?ssl=1&ssl_ca_file=%s' % authority.file)


def test_c9_hosts_of_the_list_are_verified_each_by_its_name(
        authority, front, echo):
    wrong = front(authority.certificate('DNS:elsewhere'))
    right = front(authority.certificate('DNS:localhost'))
    url = right.url('localhost:%d,guest:guest@localhost' % wrong.port,
                    ssl_ca_file=authority.file, rabbit_retry_interval=3600,
                    rabbit_interval_max=3600)
    service = echo(url=url)
    assert service.status()['connects'] == 2
    # The one is never taken for the other, whichever comes first.
    assert not wrong.versions


@pytest.mark.parametrize('option', ['ssl_ca_file', 'ssl_cert_file'])
def test_c9_file_that_is_missing_is_named(option, secure, echo):
    assert_refused(echo, "cannot use '/nowhere.pem' (" + option,
                   url=tls_url(secure, **{option: '/nowhere.pem'}))


def users_of(broker, service):
    return {each['user'] for each in broker.list(
        'connections', 'user', 'client_properties')
            if ':%d:' % service.process.pid in str(each['client_properties'])}


@pytest.mark.parametrize('version', ['TLSv1_2', 'TLSv1_3'])
def test_c9_external_login_is_by_certificate(version, secure, authority, echo):
    """Whatever the URL says of a user."""
    pair = authority.certificate(name='agent')
    service = echo(url=tls_url(
        secure, 'nobody:wrong', rabbit_login_method='EXTERNAL',
        ssl_version=version, ssl_ca_file=authority.file, ssl_cert_file=pair,
        ssl_key_file=pair))
    assert users_of(secure, service) == {'agent'}


def test_c9_key_may_be_in_the_file_of_the_certificate(secure, authority, echo):
    url = tls_url(secure, rabbit_login_method='EXTERNAL',
                  ssl_ca_file=authority.file,
                  ssl_cert_file=authority.certificate(name='agent'))
    echo(url=url)
    assert call_own(url) == WORKS


def test_c9_certificate_of_nobody_is_refused(secure, authority, echo):
    assert_refused(echo, 'ACCESS_REFUSED', url=tls_url(
        secure, rabbit_login_method='EXTERNAL', ssl_ca_file=authority.file,
        ssl_cert_file=authority.certificate(name='stranger')))


@pytest.mark.parametrize('version', ['TLSv1_2', 'TLSv1_3'])
def test_c9_certificate_of_another_authority_is_refused(
        version, secure, authority, other_authority, echo):
    """The broker says so, in TLS 1.3 only once it is spoken to."""
    assert_refused(echo, 'unknown ca', url=tls_url(
        secure, rabbit_login_method='EXTERNAL', ssl_version=version,
        ssl_ca_file=authority.file,
        ssl_cert_file=other_authority.certificate(name='agent')))


# ---- C12: what a broker does not permit --------------------------------------

def test_c12_virtual_host_that_is_not_there_is_retried(secure, echo):
    service = echo(url='rabbit://guest:guest@127.0.0.1:%d/later' % secure.port,
                   ready=False)
    wait_for(lambda: "NOT_ALLOWED - vhost later not found" in log_of(service),
             20, lambda: log_of(service))
    secure.ctl('eval', '''
        rabbit_vhost:add(<<"later">>, <<"guest">>),
        rabbit_auth_backend_internal:set_permissions(<<"guest">>,
          <<"later">>, <<".*">>, <<".*">>, <<".*">>, <<"guest">>).''')
    service.wait_for('up', deadline=60)


def test_c12_virtual_host_of_others_is_told(secure, echo):
    assert_refused(echo, "access to vhost '/' refused for user 'barred'",
                   url='rabbit://barred:x@127.0.0.1:%d/' % secure.port)


def test_c12_queue_that_is_not_permitted_is_named_and_retried(secure, echo):
    permit = '''rabbit_auth_backend_internal:set_permissions(<<"barred">>,
        <<"vh">>, <<"%s">>, <<".*">>, <<".*">>, <<"guest">>).'''
    secure.ctl('eval', permit % '^(?!compute.hostC$).*')
    service = echo('hostC', ready=False,
                   url='rabbit://barred:x@127.0.0.1:%d/vh' % secure.port)

    def refusals():
        return '\n'.join(
            path.read_text(errors='replace') for path in
            (secure.directory / 'log').glob('*.log')).count(
                "access to queue 'compute.hostC' in vhost 'vh' refused")

    wait_for(lambda: "declare queue 'compute.hostC': 403 ACCESS_REFUSED"
             in log_of(service), 20, lambda: log_of(service))
    began = time.monotonic()
    wait_for(lambda: refusals() >= 3, 40)
    # A loop without a pause would have been refused a hundred times a second.
    assert refusals() < 10 + 2 * (time.monotonic() - began)
    secure.ctl('eval', permit % '.*')
    service.wait_for('up', deadline=60)


# ---- What an error says, and how soon an attempt ends ------------------------

class Mute:
    """Something that a connection can be tried to, and no more.

    'full' has no room for a further connection, the others take it and say
    nothing.
    """

    def __init__(self, is_full):
        self._listener = socket.socket()
        self._listener.bind(('127.0.0.1', 0))
        self._listener.listen(0)
        self.port = self._listener.getsockname()[1]
        self._others = []
        self.taken = threading.Event()
        if is_full:
            for _ in range(3):
                other = socket.socket()
                other.setblocking(False)
                other.connect_ex(('127.0.0.1', self.port))
                self._others.append(other)
        else:
            threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self._others.append(peer)
            # The first bytes: somebody waits for an answer to them.
            threading.Thread(target=self._read, args=(peer,),
                             daemon=True).start()

    def _read(self, peer):
        with contextlib.suppress(OSError):
            if peer.recv(1):
                self.taken.set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()
        for other in self._others:
            other.close()


@pytest.mark.parametrize('where, options', [
    ('connect', ''), ('log in', ''), ('log in', '?ssl=1')])
def test_attempt_under_way_does_not_hold_up_the_end(where, options, echo):
    with Mute(is_full=where == 'connect') as mute:
        service = echo(url='rabbit://127.0.0.1:%d/%s' % (mute.port, options),
                       ready=False)
        if where == 'log in':
            assert mute.taken.wait(20)
        else:
            wait_for(lambda: service.connections(), 20)
        # Their own time-outs are five and ten seconds.
        service.stop(deadline=4)
        # What we end ourselves is no failure.
        assert 'given up' not in log_of(service)


@pytest.mark.parametrize('url, why', [
    ('rabbit://127.0.0.1:1/', "'127.0.0.1:1': Connection refused"),
    ('rabbit://nowhere.invalid:7/', "'nowhere.invalid:7': look up the name"),
    ('rabbit://127.0.0.1:1/?ssl=1', "'127.0.0.1:1': Connection refused")])
def test_error_says_who_and_why(url, why, echo):
    assert_refused(echo, why, url=url)


def test_error_of_a_broker_that_hangs_up_says_so(echo):
    with socket.create_server(('127.0.0.1', 0)) as listener:
        def hang_up():
            with contextlib.suppress(OSError):
                while True:
                    listener.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        assert_refused(echo, 'log in: ', url='rabbit://127.0.0.1:%d/' %
                       listener.getsockname()[1])
