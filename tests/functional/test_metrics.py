"""What machines that watch over hosts are told: numbers and health."""

import contextlib
import http.client
import json
import os
import re
import socket
import stat

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.broker import free_ports
from harness.droverd import build_directory
from harness.path import Path
from harness.wait import wait_for
from test_agent import fake, wait_status, world  # noqa: F401 (a fixture)

# How many clients are served at a time.
PLACES = 16

CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'


class Connection(http.client.HTTPConnection):
    """HTTP by a socket of this host."""

    def __init__(self, path):
        super().__init__('localhost', timeout=20)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def socket_path(agent):
    return agent.control_socket.replace('.sock', '-metrics.sock')


def ask(connection, path, method='GET', **more):
    connection.request(method, path, **more)
    reply = connection.getresponse()
    return reply, reply.read().decode()


def get(agent, path):
    return ask(Connection(socket_path(agent)), path)


# ---- A strict parser of the text format ---------------------------------------

NAME = r'[a-zA-Z_:][a-zA-Z0-9_:]*'
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"'
SAMPLE = re.compile(r'(%s)(?:\{(%s(?:,%s)*)\})? (\S+)$' % (
    NAME, LABEL.replace('(', '(?:', 1).replace('((?:', '(?:(?:'),
    LABEL.replace('(', '(?:', 1).replace('((?:', '(?:(?:')))
NUMBER = re.compile(r'[+-]Inf|NaN|-?\d+(\.\d+)?(e[+-]\d+)?')
SUFFIXES = {'counter': [''], 'gauge': [''],
            'histogram': ['_bucket', '_sum', '_count']}


def parse(text):
    """{(name, labels): value} of a text that is as it must be, to the letter."""
    assert text.endswith('\n') and '\r' not in text
    found, types, begun = {}, {}, None
    for line in text[:-1].split('\n'):
        if line.startswith('# HELP '):
            begun = line.split(' ')[2]
            assert begun not in types, 'twice: ' + line
            assert len(line.split(' ', 3)[3]) > 0
        elif line.startswith('# TYPE '):
            _, _, name, kind = line.split(' ')
            assert name == begun and re.fullmatch(NAME, name)
            assert kind in SUFFIXES
            assert (kind == 'counter') == name.endswith('_total'), line
            types[name] = kind
        else:
            sample = SAMPLE.match(line)
            assert sample, 'no sample: ' + line
            name, labels, value = sample.groups()
            assert NUMBER.fullmatch(value), line
            assert name in [begun + suffix
                            for suffix in SUFFIXES[types[begun]]], line
            pairs = re.findall(LABEL, labels or '')
            assert len(dict(pairs)) == len(pairs)
            key = (name, tuple(sorted(pairs)))
            assert key not in found, 'twice: ' + line
            found[key] = float(value)
    return found


def numbers(agent):
    reply, text = get(agent, '/metrics')
    assert reply.status == 200
    assert reply.getheader('Content-Type') == CONTENT_TYPE
    found = parse(text)
    peers = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
             for family in text_string_to_metric_families(text)
             for sample in family.samples}
    assert found == peers
    return found


def number(agent, name, **labels):
    return numbers(agent)[name, tuple(sorted(labels.items()))]


@pytest.mark.parametrize('text', [
    'x 1\n', '# HELP x h\n# TYPE x gauge\nx 1',
    '# HELP x h\n# TYPE x counter\nx 1\n',
    '# HELP x h\n# TYPE x gauge\nx{a="1",} 1\n',
    '# HELP x h\n# TYPE x gauge\nx{a="1\\t"} 1\n',
    '# HELP x h\n# TYPE x gauge\nx{a="1"} 1\nx{a="1"} 2\n',
    '# HELP x h\n# TYPE x gauge\nx 1,5\n',
    '# HELP x h\n# TYPE x gauge\ny 1\n'])
def test_parser_is_strict(text):
    with pytest.raises((AssertionError, KeyError, TypeError)):
        parse(text)


# ---- Numbers ------------------------------------------------------------------

def test_numbers_tell_what_was_done(client, droverd, world):  # noqa: F811
    hosta = droverd('hosta', settings=fake(world, 2))
    hostb = droverd('hostb', settings=fake(world))
    before = numbers(hosta)
    assert number(hosta, 'drover_build_info', version='0.1.0', driver='fake',
                  control_plane='none') == 1
    assert number(hosta, 'drover_guests', state='active') == 2
    assert number(hosta, 'drover_bus_connected', purpose='consume') == 1
    assert number(hosta, 'drover_bus_connects_total') >= 2
    assert number(hosta, 'process_resident_memory_bytes') > 1 << 20
    completed = {'outcome': 'completed'}
    assert before['drover_migrations_total',
                  (('direction', 'outgoing'), ('outcome', 'completed'))] == 0

    name = hosta.ctl_json('instance', 'list')[0]['name']
    hosta.ctl('migrate', name, 'hostb', '--watch')
    wait_status(hosta, name, 'completed')
    wait_for(lambda: not hosta.ctl_json('op', 'list')
             and not hostb.ctl_json('op', 'list'), 20, 'both are idle')
    assert number(hosta, 'drover_migrations_total', direction='outgoing',
                  **completed) == 1
    assert number(hostb, 'drover_migrations_total', direction='incoming',
                  **completed) == 1
    assert number(hosta, 'drover_migration_sent_bytes_total',
                  kind='memory') >= 64 << 20
    assert number(hosta, 'drover_migration_downtime_seconds_count') == 1
    assert number(hosta, 'drover_migration_duration_seconds_count') == 1
    assert number(hosta, 'drover_guests', state='active') == 1
    assert number(hosta, 'drover_migrations', direction='outgoing',
                  state='running') == 0
    assert number(hosta, 'drover_operations') == 0
    assert number(hosta, 'drover_residue') == 0
    assert number(hostb, 'drover_rpc_answers_total', namespace='',
                  method='pre_live_migration', outcome='ok') == 1
    shown = hosta.ctl_json('migration', 'show', name)
    assert number(hosta, 'drover_migration_downtime_seconds_sum') \
        == pytest.approx(shown['downtime_ms'] / 1000)


def test_requests_cannot_make_labels(client, droverd, world):  # noqa: F811
    hosta = droverd('hosta', settings=fake(world))
    before = set(numbers(hosta))
    for i in range(20):
        with pytest.raises(Exception):
            client.call('made_up_%d' % i, _server='hosta', _version='6.0')
    assert {key for key in set(numbers(hosta)) - before
            if not key[0].startswith('drover_self_test_age')} == set()
    assert number(hosta, 'drover_rpc_refused_requests_total',
                  reason='invalid') == 20


# ---- Health -------------------------------------------------------------------

def health(agent):
    reply, text = get(agent, '/health')
    assert reply.getheader('Content-Type') == 'application/json'
    return reply.status, json.loads(text)


def test_health_follows_hypervisor_and_bus(broker, droverd,
                                           world):  # noqa: F811
    with Path(broker) as path:
        hosta = droverd('hosta', settings=fake(
            world, transport_url=path.url,
            oslo_messaging_rabbit={'heartbeat_timeout_threshold': 2}))
        # It serves as soon as it hears; that it is heard comes beside that.
        wait_for(lambda: health(hosta)[0] == 200, 20, 'it is well')
        _, verdict = health(hosta)
        assert (verdict['status'], verdict['reasons']) == ('ok', [])
        assert verdict['host'] == 'hosta'

        hosta.ctl('fake', 'disconnect')
        assert number(hosta, 'drover_hypervisor_up') == 0
        status, verdict = health(hosta)
        assert (status, verdict['status']) == (503, 'failed')
        assert [r['what'] for r in verdict['reasons']] == ['hypervisor']
        hosta.ctl('fake', 'connect')
        assert health(hosta)[0] == 200

        path.hold()
        wait_for(lambda: health(hosta)[0] == 503, 40, 'the bus is missed')
        assert health(hosta)[1]['reasons'][0]['what'] == 'bus'
        wait_for(lambda: not number(hosta, 'drover_bus_connected',
                                    purpose='consume'), 20, 'both are gone')
        path.mend()
        wait_for(lambda: health(hosta)[0] == 200, 60, 'the bus is back')
        # The publishing one may learn of it only when the path is there.
        wait_for(lambda: number(hosta, 'drover_bus_disconnects_total') >= 2,
                 20, 'both have been lost')
        hosta.stop()


# ---- HTTP ---------------------------------------------------------------------

def test_port_serves_the_same_only_if_configured(droverd, world):  # noqa: F811
    port = free_ports(1)
    hosta = droverd('hosta', settings=fake(
        world, metrics_listen='127.0.0.1:%d' % port))
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
    for _ in range(3):  # On one connection.
        reply, text = ask(connection, '/metrics')
        assert reply.status == 200 and not reply.will_close
        assert set(parse(text)) == set(numbers(hosta))
    hosta.stop()
    assert not os.path.exists(socket_path(hosta))
    hosta.write_config(metrics_listen=None)
    hosta.start()
    with pytest.raises(ConnectionRefusedError):
        ask(http.client.HTTPConnection('127.0.0.1', port), '/metrics')
    assert numbers(hosta)


def test_agent_without_the_module_serves_all_else(droverd, world,
                                                  tmp_path):  # noqa: F811
    modules = tmp_path / 'modules'
    modules.mkdir()
    for module in (build_directory() / 'drivers' / '.libs').glob('*.so'):
        if module.name != 'drover-http.so':
            (modules / module.name).symlink_to(module)
    hosta = droverd('hosta', settings=fake(world, driver_path=str(modules)))
    assert not os.path.exists(socket_path(hosta))
    hosta.stop()
    hosta.write_config(metrics_listen='127.0.0.1:%d' % free_ports(1))
    with pytest.raises(AssertionError, match='drover-http.so'):
        hosta.start()
    # One that is no module.
    (modules / 'drover-http.so').touch()
    hosta.write_config(metrics_listen=None)
    hosta.start()
    with pytest.raises(OSError):
        health(hosta)
    assert "can't be served" in hosta.log_text()
    assert hosta.ctl_json('status')['host'] == 'hosta'


def test_socket_is_for_owner_and_group(droverd, world):  # noqa: F811
    hosta = droverd('hosta', settings=fake(world))
    assert stat.S_IMODE(os.stat(socket_path(hosta)).st_mode) == 0o660
    hosta.kill()
    hosta.start()  # In the place of the one that was left behind.
    assert health(hosta)[0] == 200


def raw_ask(agent, data):
    """The beginning of the answer; empty: it hung up."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(socket_path(agent))
        client.sendall(data)
        try:
            return client.recv(12)
        except ConnectionResetError:
            return b''


def test_what_is_not_served_is_said(droverd, world):  # noqa: F811
    hosta = droverd('hosta', settings=fake(world))
    connection = Connection(socket_path(hosta))
    assert ask(connection, '/')[0].status == 404
    assert ask(connection, '/metrics/x')[0].status == 404
    reply, text = ask(connection, '/health', 'HEAD')
    assert (reply.status, text) == (200, '')
    reply, _ = ask(Connection(socket_path(hosta)), '/health', 'POST', body='')
    assert reply.status == 405 and reply.getheader('Allow') == 'GET, HEAD'
    # In one piece: the agent may answer, or hang up, before it has all.
    assert raw_ask(hosta, b'GET /health HTTP/1.1\r\nHost: h\r\n'
                   b'Content-Length: 1\r\n\r\nx') == b''
    assert raw_ask(hosta, b'GET /' + b'x' * 17000) == b'HTTP/1.1 414'
    raw_ask(hosta, b'what?\r\n\r\n')
    assert health(hosta)[0] == 200


def hangs_up(client):
    try:
        return client.recv(1) == b''
    except ConnectionResetError:
        return True


def test_silent_clients_are_bounded_and_hung_up_on(droverd,
                                                   world):  # noqa: F811
    hosta = droverd('hosta', settings=fake(world))
    silent = []
    try:
        for _ in range(100):
            client = socket.socket(socket.AF_UNIX)
            client.connect(socket_path(hosta))  # Waits for its turn.
            client.settimeout(30)
            silent.append(client)
            # One that is turned away may be so before it says anything.
            with contextlib.suppress(BrokenPipeError):
                client.sendall(b'G')
        # The agent has better things to do meanwhile.
        assert hosta.ctl_json('status')['host'] == 'hosta'
        for client in silent[PLACES:]:  # At once, ...
            assert hangs_up(client)
        silent[0].settimeout(0)
        with pytest.raises(BlockingIOError):
            silent[0].recv(1)
        silent[0].settimeout(30)
        for client in silent[:PLACES]:  # ... or when their time is over.
            assert hangs_up(client)
    finally:
        for client in silent:
            client.close()
    assert health(hosta)[0] == 200
