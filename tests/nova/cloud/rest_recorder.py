"""Every REST call of the cloud, in a file, one JSON object a line.

Stands where the services are called at, hands each request on to the service
behind it, and the answer back.  What it writes:

    ts, duration      seconds since the epoch; how long the answer took
    from              who called: hosta, hostb or controller
    service           keystone, placement, glance, neutron or nova
    method, path, status
    headers           of the request; tokens are "REDACTED"
    request, answer   bodies: JSON, or the number of bytes; null if empty

Run as: rest_recorder.py FILE
"""

import asyncio
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from cloud.places import CONTROLLER, NAMES, PORTS, backend_of  # noqa: E402

SECRET = ('x-auth-token', 'x-service-token', 'x-subject-token',
          'authorization')
# Those that are about a connection, of which there are two here.
OF_CONNECTION = ('connection', 'keep-alive', 'transfer-encoding',
                 'content-length', 'proxy-connection', 'expect')


class Message:
    """A request or an answer: first line, headers, body."""

    def __init__(self, first, headers, body):
        self.first = first
        self.headers = headers  # Pairs.
        self.body = body

    def header(self, name):
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return ''

    def bytes(self, connection, has_body=True):
        lines = [self.first]
        lines += ['%s: %s' % pair for pair in self.headers
                  if pair[0].lower() not in OF_CONNECTION]
        if has_body:
            lines.append('Content-Length: %d' % len(self.body))
        lines.append('Connection: ' + connection)
        head = '\r\n'.join(lines) + '\r\n\r\n'
        return head.encode('latin-1') + (self.body if has_body else b'')


async def read_head(reader):
    """First line and headers; None at the end of the connection."""
    try:
        head = await reader.readuntil(b'\r\n\r\n')
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode('latin-1').rstrip('\r\n').split('\r\n')
    return Message(first, [tuple(part.strip() for part in line.split(':', 1))
                           for line in lines], b'')


async def read_body(reader, message, to_the_end=False):
    if 'chunked' in message.header('transfer-encoding').lower():
        message.body = await read_chunks(reader)
    elif message.header('content-length'):
        message.body = await reader.readexactly(
            int(message.header('content-length')))
    elif to_the_end:
        message.body = await reader.read()


async def read_chunks(reader):
    body = b''
    while True:
        size = int((await reader.readline()).split(b';')[0], 16)
        if size == 0:
            while (await reader.readline()).strip():
                pass
            return body
        body += await reader.readexactly(size)
        await reader.readline()


async def exchange(service, request):
    """Hands a request to the service; returns the answer."""
    address, port = backend_of(service)
    reader, writer = await asyncio.open_connection(address, port, limit=2**20)
    try:
        writer.write(request.bytes('close'))
        await writer.drain()
        answer = await read_head(reader)
        while answer and answer.first.split()[1].startswith('1'):
            answer = await read_head(reader)
        if answer is None:
            raise ConnectionError('no answer')
        if not is_empty(request, answer):
            await read_body(reader, answer, to_the_end=True)
        return answer
    finally:
        writer.close()


def is_empty(request, answer):
    """Whether an answer has no body, whatever its headers say."""
    return (request.first.startswith('HEAD ') or
            answer.first.split()[1] in ('204', '304'))


def readable(message):
    if not message.body:
        return None
    try:
        return hidden(json.loads(message.body))
    except ValueError:
        return len(message.body)


def hidden(value):
    """Without passwords."""
    if isinstance(value, dict):
        return {key: 'REDACTED' if key == 'password' and
                isinstance(inner, str) else hidden(inner)
                for key, inner in value.items()}
    if isinstance(value, list):
        return [hidden(inner) for inner in value]
    return value


class Recorder:
    def __init__(self, path):
        self._file = open(path, 'a', encoding='utf-8', buffering=1)

    def note(self, start, who, service, request, answer):
        method, path, _ = request.first.split(' ', 2)
        self._file.write(json.dumps({
            'ts': round(start, 6), 'duration': round(time.time() - start, 6),
            'from': NAMES.get(who, who), 'service': service,
            'method': method, 'path': path,
            'status': int(answer.first.split()[1]),
            'headers': {
                key: 'REDACTED' if key.lower() in SECRET else value
                for key, value in request.headers},
            'request': readable(request), 'answer': readable(answer)}) + '\n')

    async def serve(self, service, reader, writer):
        who = writer.get_extra_info('peername')[0]
        try:
            while True:
                request = await read_head(reader)
                if request is None:
                    break
                if request.header('expect'):
                    writer.write(b'HTTP/1.1 100 Continue\r\n\r\n')
                await read_body(reader, request)
                start = time.time()
                try:
                    answer = await exchange(service, request)
                except OSError as error:
                    answer = Message('HTTP/1.1 503 Service Unavailable', [],
                                     str(error).encode())
                self.note(start, who, service, request, answer)
                ends = request.header('connection').lower() == 'close'
                writer.write(answer.bytes(
                    'close' if ends else 'keep-alive',
                    not is_empty(request, answer)))
                await writer.drain()
                if ends:
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def main(path):
    recorder = Recorder(path)
    servers = []
    for service, port in PORTS.items():
        async def serve(reader, writer, service=service):
            await recorder.serve(service, reader, writer)
        servers.append(await asyncio.start_server(
            serve, CONTROLLER, port, limit=2**20, backlog=200))
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == '__main__':
    asyncio.run(main(sys.argv[1]))
