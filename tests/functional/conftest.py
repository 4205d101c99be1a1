"""Fixtures of the functional tests.  Start them with the script 'run'."""

import json
import os
import pathlib
import sys

import pytest
from _pytest.runner import runtestprotocol

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from harness import droverd as agent  # noqa: E402
from harness import guest as guests  # noqa: E402
from harness import lab as labs  # noqa: E402
from harness.broker import Broker  # noqa: E402
from harness.oslo import Listener, OsloClient, OsloServer  # noqa: E402
from harness.process import tail  # noqa: E402
from harness.raw import Raw  # noqa: E402

# What runs where: each test in one of the processes that 'run' starts, which
# are one "here", one in a lab with "local" and one with "shared" storage.
INSIDE = labs.is_inside()
PART = os.environ.get('DROVER_LAB_STORAGE', 'here')


def has_faults():
    config = agent.build_directory() / 'config.h'
    return (config.exists() and
            '#define ENABLE_FAULT_INJECTION 1' in config.read_text())


def needs_faults(item):
    return item.get_closest_marker('faults') is not None


def part_of(item):
    if not item.get_closest_marker('libvirt'):
        return 'here'
    return 'shared' if item.get_closest_marker('shared') else 'local'


def pytest_configure(config):
    config.addinivalue_line(
        'markers', 'libvirt: needs two hosts with libvirt, runs in the lab')
    config.addinivalue_line(
        'markers', 'shared: with libvirt, needs a lab with shared storage')
    config.addinivalue_line(
        'markers', 'faults: needs a build with --enable-fault-injection')
    config.drover_counts = {'passed': 0, 'failed': 0, 'skipped': 0,
                            'for_here': 0, 'for_local': 0, 'for_shared': 0}


def pytest_collection_modifyitems(config, items):
    if not has_faults():
        config.hook.pytest_deselected(
            items=[item for item in items if needs_faults(item)])
        items[:] = [item for item in items if not needs_faults(item)]
    elsewhere = [item for item in items if part_of(item) != PART]
    if PART == 'here':
        for item in elsewhere:
            config.drover_counts['for_' + part_of(item)] += 1
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if part_of(item) == PART]


def pytest_runtest_protocol(item, nextitem):
    """Gives a test in the lab a second chance if its guest broke down.

    QEMU's emulation of a processor loses pages now and then that a guest
    writes while it is migrated, with plain virsh as well: it panics, or says
    nothing any more.  Nothing of the agent's is in that way; with KVM it is a
    failure.
    """
    if part_of(item) == 'here' or os.environ['DROVER_LAB_VIRT'] == 'kvm':
        return None
    counts = dict(item.config.drover_counts)
    guests.panics.clear()
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if guests.panics and any(report.failed for report in reports):
        print('\nthe guest broke down under emulation, once more: %s (%s)' % (
            item.nodeid, guests.panics[0]))
        item.config.drover_counts.update(counts)
        item.drover_failed = item.drover_passed = False
        item._initrequest()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    return True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    counts = item.config.drover_counts
    if report.failed:
        # Once a test, be it in its body or in taking it down.
        if not getattr(item, 'drover_failed', False):
            item.drover_failed = True
            counts['failed'] += 1
            if getattr(item, 'drover_passed', False):
                counts['passed'] -= 1
        for daemon in getattr(item, 'drover_daemons', ()):
            report.sections.append(
                ('log of %s, %s' % (daemon.host, daemon.log),
                 tail(daemon.log)))
    elif report.skipped:
        counts['failed' if hasattr(report, 'wasxfail') else 'skipped'] += 1
    elif report.when == 'call':
        item.drover_passed = True
        counts['passed'] += 1


def pytest_collectreport(report):
    if report.failed:
        _broken_modules.append(report.nodeid)


_broken_modules = []


def pytest_sessionfinish(session):
    counts = session.config.drover_counts
    counts['failed'] += len(_broken_modules)
    path = os.environ.get('DROVER_FUNCTIONAL_COUNTS')
    if path:
        pathlib.Path(path).write_text(json.dumps(counts))


# ---- The bus ----------------------------------------------------------------

@pytest.fixture(scope='session')
def run_directory(tmp_path_factory):
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope='session')
def broker_process(run_directory):
    if INSIDE:
        yield Broker.of_lab()
        return
    broker = Broker(run_directory / 'broker')
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


@pytest.fixture
def broker(broker_process):
    """A broker that runs, whatever the test before did to it."""
    broker_process.start()
    yield broker_process
    if broker_process.is_running:
        broker_process.resume()


@pytest.fixture(scope='session')
def _client(broker_process, run_directory):
    with OsloClient(broker_process.url, run_directory / 'client.log') as peer:
        yield peer


@pytest.fixture
def client(broker, _client):
    """An RPC client, oslo.messaging; the same one for all tests."""
    return _client


@pytest.fixture(scope='session')
def _listener(broker_process, run_directory):
    with Listener(broker_process.url, run_directory / 'listener.log') as peer:
        yield peer


@pytest.fixture
def listener(broker, _listener):
    """Collects all notifications since the beginning of the test."""
    _listener.clear()
    return _listener


@pytest.fixture
def oslo_client(broker, tmp_path):
    """Makes RPC clients of one's own: oslo_client(topic=..., url=...)."""
    yield from _factory(OsloClient, broker, tmp_path, 'client')


@pytest.fixture
def oslo_server(broker, tmp_path):
    """Makes RPC servers: oslo_server('topic', 'host', {'method': f})."""
    yield from _factory(OsloServer, broker, tmp_path, 'server')


@pytest.fixture
def oslo_listener(broker, tmp_path):
    """Makes listeners: oslo_listener(topics=[...])."""
    yield from _factory(Listener, broker, tmp_path, 'listener')


def _factory(kind, broker, directory, name):
    peers = []

    def make(*args, url=None, **options):
        log = directory / ('%s%d.log' % (name, len(peers)))
        peers.append(kind(url or broker.url, log, *args, **options))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


@pytest.fixture
def raw(broker):
    """Publishes any bytes and properties."""
    with Raw(broker.url) as connection:
        yield connection


# ---- The agent --------------------------------------------------------------

@pytest.fixture
def droverd(request, broker, tmp_path):
    """Makes agents: droverd('hosta', on=lab.hosta, settings={...}).

    Each is started unless told not to, and all have to end in good order.
    """
    if not agent.is_built():
        pytest.skip('no droverd in ' + str(agent.build_directory()))
    daemons = request.node.drover_daemons = []

    def make(host='hosta', start=True, **options):
        daemon = agent.Droverd(tmp_path / host, host, broker.url, **options)
        daemons.append(daemon)
        return daemon.start() if start else daemon

    yield make
    # After a failure only that counts.
    failed = getattr(request.node, 'drover_failed', False)
    try:
        for daemon in daemons:
            if daemon.is_running and not failed:
                daemon.stop()
    finally:
        for daemon in daemons:
            daemon.kill()


# ---- The lab ----------------------------------------------------------------

@pytest.fixture(scope='session')
def _lab():
    return labs.Lab()


@pytest.fixture
def lab(_lab):
    """Two hosts, without guests and in good order at the end."""
    yield _lab
    _lab.restore()
