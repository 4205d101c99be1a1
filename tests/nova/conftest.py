"""Fixtures of the tests with a whole cloud.  Start them with 'run'."""

import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / 'functional')]

from cloud.bring_up import Cloud  # noqa: E402
from harness.process import tail  # noqa: E402

COUNTS = {'passed': 0, 'failed': 0, 'skipped': 0}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        item.nova_failed = True
        cloud = item.funcargs.get('cloud')
        for agent in cloud.agents.values() if cloud else ():
            for log in (agent.nova.log, agent.drover and agent.drover.log):
                if log:
                    report.sections.append((str(log), tail(log)))


@pytest.fixture(scope='session')
def the_cloud():
    cloud = Cloud()
    cloud.bring_up()
    for what, seconds in cloud.times:
        print('%-24s %6.1f s' % (what, seconds))
    print('%-24s %6.1f s' % ('together', sum(
        seconds for _, seconds in cloud.times)))
    return cloud


@pytest.fixture
def cloud(the_cloud):
    """The cloud, without servers before and after a test."""
    the_cloud.check()
    the_cloud.clear()
    yield the_cloud
    the_cloud.check()


@pytest.fixture
def hosts(cloud):
    """hosts(hosta='nova', hostb='drover', storage='block')."""

    def have(hosta='nova', hostb='nova', storage='shared', more=None):
        cloud.clear()
        for name, kind in ('hosta', hosta), ('hostb', hostb):
            cloud.agents[name].become(kind, storage, more)
        return cloud.agents

    yield have
    # Those of Nova can clear up whatever a failed test left behind.
    for agent in cloud.agents.values():
        if agent.kind is None:
            agent.become('nova')


@pytest.fixture
def trace(cloud):
    """Every message and every REST call since the test's beginning."""
    return cloud.trace()
