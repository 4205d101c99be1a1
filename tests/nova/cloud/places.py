"""Where each service listens, and where its files are.

Everything is inside the lab's network, so no port can be taken by others.
What a service is called at is the recorder's (rest_recorder); the service
itself listens on the loop-back interface, ten thousand above.
"""

import os
import pathlib

CONTROLLER = '10.77.0.254'
HOSTS = {'hosta': '10.77.0.1', 'hostb': '10.77.0.2'}
NAMES = {address: name for name, address in HOSTS.items()}
NAMES[CONTROLLER] = 'controller'

# The guests' network, on eth1 of both hosts.
GUEST_NETWORK = '10.79.0'

PORTS = {'keystone': 5000, 'placement': 8778, 'glance': 9292,
         'neutron': 9696, 'nova': 8774}
BEHIND = 10000  # Added to a port: where the service itself listens.
DATABASE_PORT = 3306

PASSWORD = 'secret'  # Everybody's: nobody outside the lab can come here.
REGION = 'RegionOne'


def url_of(service):
    return 'http://%s:%d' % (CONTROLLER, PORTS[service])


def backend_of(service):
    """Address and port at which a service itself listens."""
    return '127.0.0.1', PORTS[service] + BEHIND


class Places:
    """The directory of a cloud."""

    def __init__(self, directory):
        self.top = pathlib.Path(directory)
        self.logs = self.top / 'log'
        self.traces = self.top / 'trace'
        self.socket = self.top / 'mysql.sock'
        # The same one on both hosts, and each its own, by the same name.
        self.shared_instances = pathlib.Path(
            os.environ['DROVER_LAB']) / 'shared-instances'
        self.own_instances = pathlib.Path(os.environ['INSTANCES'])
        for path in (self.top, self.logs, self.traces):
            path.mkdir(parents=True, exist_ok=True)

    def of(self, *parts):
        """A path below the top, its directory made."""
        path = self.top.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def directory(self, *parts):
        path = self.top.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def instances(self, storage):
        return (self.shared_instances if storage == 'shared'
                else self.own_instances)
