"""A raw HTTP/1.1 client, and the server process it talks to.

Nothing here waits longer than its time-out, and only processes started here
are ended here.
"""

import glob
import os
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

WAIT = 10.0  # how long anything may take that should happen at once


class Response:
    def __init__(self, status, fields, body, chunks):
        self.status = status
        self.fields = fields  # names in lower case
        self.body = body
        self.chunks = chunks  # the pieces of a chunked body


class Client:
    """One connection. What is read too much is kept for the next response."""

    def __init__(self, port, timeout=WAIT):
        self.socket = socket.create_connection(('127.0.0.1', port), timeout)
        self.buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Closes with a RST instead of a FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def get(self, target, **kwargs):
        return self.request('GET', target, **kwargs)

    def request(self, method, target, fields=(), body=b''):
        self.send(request(method, target, fields, body))
        return self.response(head=method == 'HEAD')

    def response(self, head=False):
        status_line, *lines = self._until(b'\r\n\r\n').decode().split('\r\n')
        match = re.fullmatch(r'HTTP/1\.[01] (\d{3}) .*', status_line)
        assert match, f'bad status line {status_line!r}'
        fields = {}
        for line in lines:
            name, value = line.split(':', 1)
            fields[name.lower()] = value.strip()
        status = int(match[1])
        if head or status == 100:
            return Response(status, fields, b'', [])
        if fields.get('transfer-encoding') == 'chunked':
            chunks = self._chunks()
            return Response(status, fields, b''.join(chunks), chunks)
        if 'content-length' in fields:
            return Response(status, fields, self._exactly(int(fields['content-length'])), [])
        return Response(status, fields, self.rest(), [])

    def rest(self):
        """All up to the end of the stream."""
        while self._more():
            pass
        return self._take(len(self.buffer))

    def closed_within(self, seconds):
        """Whether the server closes, or resets, without sending anything more."""
        self.socket.settimeout(seconds)
        try:
            return not self._more()
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(WAIT)

    def silent_for(self, seconds):
        """Whether neither data nor the end of the stream has come by then."""
        return not self.buffer and not select.select([self.socket], [], [], seconds)[0]

    def _more(self):
        data = self.socket.recv(65536)
        self.buffer += data
        return bool(data)

    def _need_more(self):
        if not self._more():
            raise EOFError(f'the stream ended after {len(self.buffer)} bytes: {self.buffer[:80]!r}')

    def _until(self, mark):
        while mark not in self.buffer:
            self._need_more()
        data = self._take(self.buffer.index(mark))
        del self.buffer[:len(mark)]
        return data

    def _exactly(self, size):
        while len(self.buffer) < size:
            self._need_more()
        return self._take(size)

    def _take(self, size):
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def _chunks(self):
        chunks = []
        while size := int(self._until(b'\r\n'), 16):
            chunks.append(self._exactly(size))
            assert self._exactly(2) == b'\r\n'
        assert self._until(b'\r\n') == b''
        return chunks


def request(method, target, fields=(), body=b''):
    lines = [f'{method} {target} HTTP/1.1', 'Host: test', *fields]
    if body:
        lines.append(f'Content-Length: {len(body)}')
    return '\r\n'.join(lines).encode() + b'\r\n\r\n' + body


class NoUring(Exception):
    """The kernel or a sandbox does not let this process use io_uring."""


class Server:
    """The server under test; ended at the end of the scope."""

    def __init__(self, program, io, *options, descriptors=None):
        self.command = [program, '--port', '0', '--workers', '2', '--io', io, *options]
        self.io = io
        self.descriptors = descriptors

    def __enter__(self):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=self.errors,
                                        preexec_fn=self._limit)
        try:
            self.port = self._port()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, failure, *_):
        if failure is not None:
            print(f'the server said, up to the failure: {self.log()!r}', file=sys.stderr)
        self._end()

    def _end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WAIT)
        self.process.stdout.close()
        self.errors.close()

    def _limit(self):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if self.descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))

    def _port(self):
        if not select.select([self.process.stdout], [], [], WAIT)[0]:
            raise AssertionError('the server says nothing')
        self.announcement = self.process.stdout.readline().decode()
        match = re.fullmatch(r'listening on http://127\.0\.0\.1:(\d+) \(2 workers, (\w+)\)\n',
                             self.announcement)
        if match is None:
            self.process.wait(WAIT)
            log = self.log()
            if self.io == 'uring' and 'io_uring' in log:
                raise NoUring(log)
            raise AssertionError(f'the server said {self.announcement!r}, and as errors {log!r}')
        assert match[2] == self.io, self.announcement
        return int(match[1])

    def connect(self, timeout=WAIT):
        return Client(self.port, timeout)

    def log(self):
        """What the server wrote to stderr so far. Moves no offset that it uses."""
        size = os.fstat(self.errors.fileno()).st_size
        return os.pread(self.errors.fileno(), size, 0).decode(errors='replace')

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, seconds=WAIT):
        """Returns the exit code."""
        return self.process.wait(seconds)

    def open_descriptors(self):
        return len(os.listdir(f'/proc/{self.process.pid}/fd'))

    def rests_for(self, seconds, switches_most=0):
        """Whether the server comes to rest: its threads run, all in all, no more
        than so many times in a time of `seconds`, and are asleep at its end.
        """
        give_up = time.monotonic() + WAIT
        while time.monotonic() < give_up:
            before = sum(switches for _, switches in self._threads())
            time.sleep(seconds)
            states, switches = zip(*self._threads())
            if sum(switches) - before <= switches_most and set(states) == {'S'}:
                return True
        return False

    def _threads(self):
        """The state of each thread, and how often it began to run."""
        for path in glob.glob(f'/proc/{self.process.pid}/task/*/status'):
            with open(path) as file:
                fields = dict(line.split(':', 1) for line in file)
            yield fields['State'].strip()[0], sum(
                int(fields[kind + '_ctxt_switches']) for kind in ['voluntary', 'nonvoluntary'])
