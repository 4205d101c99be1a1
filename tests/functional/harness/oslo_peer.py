"""A process with the real oslo.messaging in it, driven by lines of JSON.

    oslo_peer.py client|server|listener|declarer SETTINGS

A process of its own, as the library has one global configuration and leaves
threads behind that hold up a normal exit.  It ends with its standard input.
Everything it says is a line of JSON on standard output, beginning with
{"event": "ready"}; harness/oslo.py is the other end.
"""

import itertools
import json
import logging
import os
import pathlib
import sys
import threading
import time

import oslo_messaging
from oslo_config import cfg

REMOTE = '_Remote'
PRIORITIES = ('audit', 'debug', 'info', 'warn', 'error', 'critical', 'sample')

_output = threading.Lock()


def say(**line):
    with _output:
        sys.stdout.write(json.dumps(line, default=repr) + '\n')
        sys.stdout.flush()


def orders():
    for line in sys.stdin:
        yield json.loads(line)


def target_of(fields):
    return oslo_messaging.Target(**fields)


# ---- Client ---------------------------------------------------------------

def first_line(text):
    return str(text).split('\n', 1)[0]


def describe(error):
    """What a caller sees of a failure, as plain data."""
    kind = type(error)
    seen = {'class': kind.__name__, 'module': kind.__module__,
            'message': first_line(error), 'remote': False, 'rebuilt': False,
            'args': list(error.args), 'kwargs': getattr(error, 'kwargs', {})}
    if isinstance(error, oslo_messaging.RemoteError):
        # The library would not or could not make an object of that class.
        seen.update({'class': error.exc_type, 'module': None, 'remote': True,
                     'message': error.value, 'traceback': error.traceback})
    elif kind.__name__.endswith(REMOTE):
        seen.update({'class': kind.__name__[:-len(REMOTE)],
                     'module': kind.__module__[:-len(REMOTE)],
                     'remote': True, 'rebuilt': True,
                     'traceback': str(error).split('\n')[1:]})
    elif kind.__module__ == 'builtins' and '\n' in str(error):
        # Those of Python itself keep their class, and get the traceback
        # appended to their text.
        seen.update({'remote': True, 'rebuilt': True,
                     'args': [first_line(error), *error.args[1:]],
                     'traceback': str(error).split('\n')[1:]})
    return seen


def perform(transport, order):
    kind = order['kind']
    options = order.get('options', {})
    if options.pop('mandatory', False):
        options['transport_options'] = oslo_messaging.TransportOptions(
            at_least_once=True)
    client = oslo_messaging.get_rpc_client(
        transport, target_of(order['target']), **options)
    send = client.call if kind == 'call' else client.cast
    try:
        result = send(order['context'], order['method'], **order['args'])
        say(id=order['id'], result=result)
    except Exception as error:
        say(id=order['id'], error=describe(error))


def bench(transport, order):
    """Calls 'count' times, 'concurrency' at once, and tells how long it took.
    """
    rpc = oslo_messaging.get_rpc_client(transport, target_of(order['target']))
    turns = iter(range(order['count']))
    taking_turns = threading.Lock()
    times, errors = [], []

    def caller():
        while True:
            with taking_turns:
                if next(turns, None) is None:
                    return
            start = time.monotonic()
            try:
                rpc.call({}, order['method'], **order['args'])
                times.append(time.monotonic() - start)
            except Exception as error:
                errors.append(repr(error))

    threads = [threading.Thread(target=caller)
               for _ in range(order['concurrency'])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(id=order['id'], result={'times': sorted(times), 'errors': errors})


def client(settings):
    transport = oslo_messaging.get_rpc_transport(
        cfg.CONF, url=settings['url'],
        allowed_remote_exmods=settings['allowed'])
    say(event='ready')
    for order in orders():
        threading.Thread(
            target=bench if order['kind'] == 'bench' else perform,
            args=(transport, order), daemon=True).start()


# ---- Server ---------------------------------------------------------------

class Endpoint:
    """Has every method: each is answered by the other end of the pipe.

    But 'fixed' are results that are given at once.
    """

    def __init__(self, target, fixed):
        self.target = target
        self.fixed = fixed
        self.number = 0
        self.lock = threading.Lock()
        self.waiting = {}

    def __getattr__(self, method):
        if method.startswith('_'):
            raise AttributeError(method)
        if method in self.fixed:
            return lambda context, **args: self.fixed[method]
        return lambda context, **args: self.ask(method, context, args)

    def ask(self, method, context, args):
        answered = threading.Event()
        slot = [answered, None]
        with self.lock:
            self.number += 1
            number = self.number
            self.waiting[number] = slot
        say(event='request', id=number, method=method, context=context,
            args=args)
        answered.wait()
        answer = slot[1]
        if 'failure' in answer:
            raise self.failure(**answer['failure'])
        return answer.get('result')

    @staticmethod
    def failure(name, module, message, kwargs):
        kind = type(name, (Exception,), {'__module__': module})
        error = kind(message)
        error.kwargs = kwargs
        return error

    def answer(self, order):
        with self.lock:
            slot = self.waiting.pop(order['id'])
        slot[1] = order
        slot[0].set()


def server(settings):
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=settings['url'])
    endpoints = [
        Endpoint(oslo_messaging.Target(**fields), settings['fixed'])
        for fields in settings['endpoints']]
    # One table of open requests for all.
    for endpoint in endpoints[1:]:
        endpoint.lock, endpoint.waiting = (
            endpoints[0].lock, endpoints[0].waiting)
        endpoint.ask = endpoints[0].ask
    service = oslo_messaging.get_rpc_server(
        transport, target_of(settings['target']), endpoints,
        executor='threading')
    service.start()
    say(event='ready')
    for order in orders():
        endpoints[0].answer(order)


# ---- Listener -------------------------------------------------------------

def receiver(priority, requeues):
    def receive(_self, context, publisher_id, event_type, payload, metadata):
        say(event='notification', priority=priority, context=context,
            publisher_id=publisher_id, event_type=event_type, payload=payload,
            message_id=metadata['message_id'],
            timestamp=metadata['timestamp'])
        if next(requeues, False):
            return oslo_messaging.NotificationResult.REQUEUE
        return oslo_messaging.NotificationResult.HANDLED
    return receive


def listener(settings):
    transport = oslo_messaging.get_notification_transport(
        cfg.CONF, url=settings['url'])
    requeues = itertools.repeat(True, settings['requeue'])
    endpoint = type('Endpoint', (), {
        priority: receiver(priority, requeues) for priority in PRIORITIES})()
    service = oslo_messaging.get_notification_listener(
        transport,
        [oslo_messaging.Target(topic=topic, exchange=settings['exchange'])
         for topic in settings['topics']],
        [endpoint], executor='threading', allow_requeue=True)
    # One thread: notifications are told in the order they came in.
    cfg.CONF.set_override('executor_thread_pool_size', 1)
    service.start()
    say(event='ready')
    for _ in orders():
        pass


# ---- Declarer -------------------------------------------------------------

def declarer(settings):
    """Has the library declare all it ever does, at each of 'urls'."""
    endpoint = type('Endpoint', (), {'echo': lambda _self, _context, value:
                                     value})()
    for url in settings['urls']:
        transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=url)
        oslo_messaging.get_rpc_server(
            transport, oslo_messaging.Target(topic='compute', server='host1'),
            [endpoint], executor='threading').start()
        oslo_messaging.get_rpc_client(
            transport, oslo_messaging.Target(topic='compute', server='host1'),
            timeout=60).call({}, 'echo', value=1)
    say(event='ready')
    for _ in orders():
        pass


def main():
    kind, settings = sys.argv[1], json.loads(sys.argv[2])
    sys.path.insert(
        0, str(pathlib.Path(__file__).resolve().parent / 'standin'))
    # To standard error, which is kept with the run.
    logging.basicConfig(level=logging.INFO)
    # The library finds some of its options in the global object only.
    cfg.CONF([], project='peer', default_config_files=[])
    oslo_messaging.set_transport_defaults(settings['exchange'])
    {'client': client, 'server': server, 'listener': listener,
     'declarer': declarer}[kind](settings)
    sys.stdout.flush()
    # A normal exit would wait ten seconds for the library's threads.
    os._exit(0)


if __name__ == '__main__':
    main()
