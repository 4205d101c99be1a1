"""A cluster of RabbitMQ nodes, of which some may be lost."""

import json
import subprocess

from .broker import Broker, free_ports
from .process import bound
from .wait import wait_for

COOKIE = 'DROVER'


class Cluster:
    """Nodes a, b, c: together they are one broker, and each is one."""

    def __init__(self, directory, count=3):
        self._mapper_port = free_ports(1)
        self._mapper = None
        self.nodes = []
        for name in 'abcdefgh'[:count]:
            node = Broker(directory / name, port=free_ports(2))
            node.name = name
            node.environment = {'RABBIT_NODE': name,
                                'RABBIT_MAPPER': str(self._mapper_port)}
            if self.nodes:
                node.environment['RABBIT_JOIN'] = self.nodes[0].name
            node.directory.mkdir(parents=True)
            cookie = node.directory / '.erlang.cookie'
            cookie.write_text(COOKIE)
            cookie.chmod(0o400)
            self.nodes.append(node)

    def start(self):
        self._mapper = subprocess.Popen(
            bound(['epmd', '-port', self._mapper_port,
                   '-address', '127.0.0.1']), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.nodes[0].start(120)
        for node in self.nodes[1:]:
            node.launch()
        for node in self.nodes[1:]:
            node.wait_ready(120)
        wait_for(lambda: len(self._status()['running_nodes']) ==
                 len(self.nodes), 60, 'a whole cluster', 0.5)

    def _status(self):
        return json.loads(
            self.alive().ctl('cluster_status', '--formatter', 'json'))

    @property
    def url(self):
        """All of them, in one transport_url."""
        return 'rabbit://%s/' % ','.join(
            'guest:guest@%s:%d' % (node.address, node.port)
            for node in self.nodes)

    def alive(self):
        return next(node for node in self.nodes if node.is_running)

    def home_of(self, queue):
        """The node on which a queue, or its leader, is."""
        answer = self.alive().ctl(
            'eval', '{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r('
            '<<"/">>, queue, <<"%s">>)), amqqueue:qnode(Q).' % queue)
        name = answer.strip().strip("'").split('@')[0]
        return next(node for node in self.nodes if node.name == name)

    def kill(self):
        for node in self.nodes:
            node.kill()
        if self._mapper:
            self._mapper.kill()
            self._mapper.wait(10)
