"""The peers' own RPC library, real oslo.messaging: client, server, listener.

Each lives in a process of its own, see oslo_peer.py.
"""

import concurrent.futures
import itertools
import json
import pathlib
import subprocess
import sys
import threading
import traceback

from .process import bound, tail
from .wait import wait_for

PEER = pathlib.Path(__file__).with_name('oslo_peer.py')


class Failure(Exception):
    """A call failed.  The attributes are what the caller got to see.

    remote   the far side raised it, as opposed to this side's library
    rebuilt  the library made an exception object of the very class
    name     of the class; 'module' is None where it was not rebuilt
    """

    def __init__(self, seen):
        super().__init__('%(class)s: %(message)s' % seen)
        self.name = seen['class']
        self.module = seen['module']
        self.message = seen['message']
        self.remote = seen['remote']
        self.rebuilt = seen['rebuilt']
        self.arguments = seen['args']
        self.kwargs = seen['kwargs']
        self.traceback = seen.get('traceback', [])


class Timeout(Failure):
    """No reply in time."""


class Undeliverable(Failure):
    """The broker had nowhere to put the message, or could not be reached."""


def failure_of(seen):
    if not seen['remote']:
        if seen['class'] == 'MessagingTimeout':
            return Timeout(seen)
        if seen['class'] in ('MessageUndeliverable', 'MessageDeliveryFailure'):
            return Undeliverable(seen)
    return Failure(seen)


class Peer:
    """The process, and a thread that reads what it says."""

    def __init__(self, kind, settings, log):
        self.log = pathlib.Path(log)
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._writing = threading.Lock()
        with open(self.log, 'ab') as errors:
            self._process = subprocess.Popen(
                bound([sys.executable, PEER, kind, json.dumps(settings)]),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                text=True, bufsize=1)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_for(lambda: self._ready.is_set() or self._ended.is_set(), 60,
                 'peer is ready')
        if not self._ready.is_set():
            raise AssertionError('%s ended:\n%s' % (kind, tail(self.log)))

    def _read(self):
        for text in self._process.stdout:
            line = json.loads(text)
            if line.get('event') == 'ready':
                self._ready.set()
            else:
                self.received(line)
        self._ended.set()

    def received(self, line):
        raise NotImplementedError

    def say(self, **line):
        with self._writing:
            self._process.stdin.write(json.dumps(line) + '\n')
            self._process.stdin.flush()

    def close(self):
        if self._process.poll() is None:
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        self._reader.join(10)

    def kill(self):
        """As a crash: nothing is said to the broker."""
        self._process.kill()
        self._process.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class OsloClient(Peer):
    """Calls and casts.

    The keywords of call() and its like that are not arguments of the method
    begin with an underscore: _topic, _server, _namespace, _version,
    _exchange, _context, _timeout, _call_monitor_timeout, _version_cap,
    _retry, _mandatory.
    """

    TARGET = ('topic', 'server', 'namespace', 'version', 'exchange')
    OPTIONS = ('timeout', 'call_monitor_timeout', 'version_cap', 'retry',
               'mandatory')

    def __init__(self, url, log, topic='compute', exchange='nova',
                 version=None, allowed=('nova.exception',), timeout=60):
        self._defaults = {'topic': topic, 'exchange': exchange,
                          'version': version, 'timeout': timeout}
        self._numbers = itertools.count(1)
        self._open = {}
        super().__init__('client', {'url': url, 'exchange': exchange,
                                    'allowed': list(allowed)}, log)

    def received(self, line):
        future = self._open.pop(line['id'])
        if 'error' in line:
            future.set_exception(failure_of(line['error']))
        else:
            future.set_result(line['result'])

    def _send(self, kind, method, fanout=False, **words):
        given = dict(self._defaults)
        given.update({word[1:]: value for word, value in words.items()
                      if word.startswith('_')})
        unknown = set(given) - {*self.TARGET, *self.OPTIONS, 'context'}
        if unknown:
            raise TypeError('unknown: %s' % ', '.join(sorted(unknown)))
        target = {key: given[key] for key in self.TARGET
                  if given.get(key) is not None}
        if fanout:
            target['fanout'] = True
        options = {key: given[key] for key in self.OPTIONS
                   if given.get(key) is not None}
        if kind == 'cast':
            options.pop('timeout', None)
        number = next(self._numbers)
        future = self._open[number] = concurrent.futures.Future()
        self.say(id=number, kind=kind, method=method, target=target,
                 options=options, context=given.get('context') or {},
                 args={word: value for word, value in words.items()
                       if not word.startswith('_')})
        return future

    def call_async(self, method, **words):
        """Starts a call; the future yields the result or raises Failure."""
        return self._send('call', method, **words)

    def call(self, method, **words):
        """Calls, and returns the result or raises Failure."""
        return self.call_async(method, **words).result(
            words.get('_timeout', self._defaults['timeout']) + 60)

    def cast(self, method, **words):
        self._send('cast', method, **words).result(60)

    def bench(self, method, server, count, concurrency, version, **args):
        """Times of so many calls in seconds, sorted, and their errors."""
        number = next(self._numbers)
        future = self._open[number] = concurrent.futures.Future()
        target = {key: self._defaults[key] for key in ('topic', 'exchange')}
        self.say(id=number, kind='bench', method=method, args=args,
                 count=count, concurrency=concurrency,
                 target={**target, 'server': server, 'version': version})
        result = future.result(120)
        return result['times'], result['errors']

    def fanout(self, method, **words):
        self._send('cast', method, fanout=True, **words).result(60)


class Raise(Exception):
    """Raised by a method of an OsloServer: what its caller shall see."""

    def __init__(self, name, message='', module='nova.exception', **kwargs):
        super().__init__(message)
        self.failure = {'name': name, 'module': module, 'message': message,
                        'kwargs': kwargs}


class OsloServer(Peer):
    """Serves RPC: a peer that is another agent, or a conductor.

    'methods' maps names to functions of (context, args), called on a thread
    of their own; name "*" is for all others.  'endpoints' are pairs of
    namespace and version.  All requests are kept in 'requests', but for
    those to methods of 'fixed', whose results it gives at once.
    """

    def __init__(self, url, log, topic, server, methods,
                 endpoints=((None, '1.0'),), exchange='nova', fixed=None):
        self.requests = []
        self._methods = methods
        super().__init__('server', {
            'url': url, 'exchange': exchange, 'fixed': fixed or {},
            'target': {'topic': topic, 'server': server,
                       'exchange': exchange},
            'endpoints': [{'namespace': namespace, 'version': version}
                          for namespace, version in endpoints]}, log)

    def received(self, line):
        self.requests.append(line)
        threading.Thread(target=self._serve, args=(line,),
                         daemon=True).start()

    def _serve(self, line):
        method = self._methods.get(line['method'], self._methods.get('*'))
        try:
            if not method:
                raise Raise('NoSuchMethod', line['method'],
                            module='oslo_messaging.rpc.dispatcher')
            self._answer(line, result=method(line['context'], line['args']))
        except Raise as error:
            self._answer(line, failure=error.failure)
        except Exception as error:
            traceback.print_exc()
            self._answer(line, failure={
                'name': type(error).__name__, 'module': 'builtins',
                'message': str(error), 'kwargs': {}})

    def _answer(self, line, **answer):
        try:
            self.say(id=line['id'], **answer)
        except (BrokenPipeError, ValueError):
            pass  # It has been closed meanwhile.

    def wait_for(self, method, deadline=10.0):
        """The first request for 'method'."""
        return wait_for(
            lambda: next((request for request in list(self.requests)
                          if request['method'] == method), None),
            deadline, 'request ' + method)


class Declarer(Peer):
    """Serves and calls at each of 'urls', so that all it needs is declared."""

    def __init__(self, urls, log, exchange='nova'):
        super().__init__('declarer', {'urls': urls, 'exchange': exchange},
                         log)


class Listener(Peer):
    """Collects notifications, in the order they come in, in 'events'.

    Each is a dictionary with event_type, payload, priority, publisher_id,
    context, message_id and timestamp.  The first 'requeue' are handed back to
    the broker, and come in again.
    """

    def __init__(self, url, log,
                 topics=('notifications', 'versioned_notifications'),
                 exchange='nova', requeue=0):
        self.events = []
        super().__init__('listener', {'url': url, 'exchange': exchange,
                                      'topics': list(topics),
                                      'requeue': requeue}, log)

    def received(self, line):
        self.events.append(line)

    def clear(self):
        self.events.clear()

    def types(self):
        return [event['event_type'] for event in list(self.events)]

    def find(self, event_type, where=lambda event: True):
        return [event for event in list(self.events)
                if event['event_type'] == event_type and where(event)]

    def wait_for(self, event_type, deadline=10.0, where=lambda event: True,
                 count=1):
        """The notification of that type, or a list if 'count' is above 1."""
        found = wait_for(
            lambda: (lambda hits: len(hits) >= count and hits)(
                self.find(event_type, where)),
            deadline, lambda: 'notification %s; came in: %s' % (
                event_type, ', '.join(self.types()) or 'none'))
        return found[:count] if count > 1 else found[0]
