"""A private nova-conductor, real and unmodified, with a database of its own.

It needs Debian's python3-nova and nothing else that runs: no keystone, no
placement (which it says in its log, and goes on), one process, tables in
SQLite.  Its entry point is called by its name, as a package of its own is
only a few lines around that.
"""

import contextlib
import importlib.util
import pathlib
import signal
import sqlite3
import subprocess
import sys

import pytest

from .oslo import Timeout
from .process import bound, tail
from .raw import Raw
from .wait import wait_for

HOST = 'controller'

CONFIGURATION = """
[DEFAULT]
host = {host}
state_path = {directory}
use_stderr = true
transport_url = {url}
rpc_response_timeout = 20
[database]
connection = sqlite:///{directory}/nova.db
sqlite_synchronous = false
[api_database]
connection = sqlite:///{directory}/api.db
sqlite_synchronous = false
[conductor]
workers = 1
[oslo_concurrency]
lock_path = {directory}
[oslo_messaging_notifications]
driver = noop
[placement]
auth_type = password
auth_url = http://127.0.0.1:1/
username = nobody
password = none
project_name = service
user_domain_name = Default
project_domain_name = Default
"""

# "nova-manage db sync" takes minutes; the models say the same in a second.
# In the order in which the conductor imports it all.
PROGRAM = """
import sys
from nova.cmd import conductor
import sqlalchemy
from nova.db.api import models as api
from nova.db.main import models as main
for name, models in ('api', api), ('nova', main):
    engine = sqlalchemy.create_engine('sqlite:///' + name + '.db')
    with engine.begin() as connection:
        models.BASE.metadata.create_all(connection)
    engine.dispose()
conductor.main()
"""


class Conductor:
    def __init__(self, directory, url):
        self.directory = pathlib.Path(directory)
        self.log = self.directory / 'log'
        self._url = url
        self._process = None

    def start(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration = self.directory / 'nova.conf'
        configuration.write_text(CONFIGURATION.format(
            host=HOST, directory=self.directory, url=self._url))
        with open(self.log, 'ab') as log:
            self._process = subprocess.Popen(
                bound([sys.executable, '-c', PROGRAM, '--config-file',
                       configuration]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.directory)

    def wait_ready(self, client, deadline=120):
        """Until it answers 'client', an OsloClient."""
        with Raw(self._url) as raw:
            wait_for(lambda: self._is_running() and
                     raw.has_queue('conductor.' + HOST), deadline,
                     lambda: 'conductor\n' + tail(self.log), interval=0.1)
        wait_for(lambda: self._is_running() and self._answers(client),
                 deadline, lambda: 'conductor\n' + tail(self.log))

    def _is_running(self):
        assert self._process.poll() is None, tail(self.log)
        return True

    def _answers(self, client):
        try:
            return self.ping(client, 2)
        except Timeout:
            return False

    def ping(self, client, timeout=10):
        """Is it well?"""
        reply = client.call('ping', arg='x', _topic='conductor', _server=HOST,
                            _namespace='baseapi', _version='1.0',
                            _timeout=timeout)
        return reply == {'service': 'conductor', 'arg': 'x'}

    def rows(self, query, *values):
        """What is in its database: a list of dictionaries."""
        connection = self._connect('nova')
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(query, values)]
        finally:
            connection.close()

    def write(self, statement, *values, database='nova'):
        """What no service would write; the number of the new row."""
        connection = self._connect(database)
        try:
            with connection:
                return connection.execute(statement, values).lastrowid
        finally:
            connection.close()

    def _connect(self, database):
        return sqlite3.connect(self.directory / (database + '.db'), timeout=30)

    @contextlib.contextmanager
    def paused(self):
        """It hangs meanwhile."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def leave(self):
        """Ends it, and waits until the broker knows: others may follow."""
        self.kill()
        with Raw(self._url) as raw:
            wait_for(lambda: not raw.channel.queue_declare(
                'conductor', passive=True).consumer_count, 30,
                'conductor is gone')

    def kill(self):
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)


@pytest.fixture(scope='module')
def _conductor(broker_process, _client, run_directory):
    if not importlib.util.find_spec('nova'):
        pytest.skip('no nova for ' + sys.executable)
    broker_process.start()
    conductor = Conductor(run_directory / 'conductor', broker_process.url)
    try:
        conductor.start()
        conductor.wait_ready(_client)
        yield conductor
        conductor.leave()
    finally:
        conductor.kill()


@pytest.fixture
def conductor(broker, client, _conductor):
    """The same one for all tests of a file."""
    return _conductor
