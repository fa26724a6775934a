#!/usr/bin/env python3
"""Black-box test of the example HTTP server.

Goal: the promises of an HTTP server under good and bad clients. Method: the
real program on 127.0.0.1, raw sockets, the Python standard library only.

usage: http_server_test.py SERVER --io uring|epoll [unittest arguments]
"""

import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True

from client import NoUring, Server, WAIT, request

PROGRAM = ''
IO = ''


def serve(*options, **kwargs):
    return Server(PROGRAM, IO, *options, **kwargs)


def soft_descriptor_limit(wanted):
    """Raises the soft limit as far as allowed; returns what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)


def eventually(condition):
    """Whether it comes true."""
    give_up = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.01)
    return True


def under_tsan():
    """Whether the server runs under ThreadSanitizer, which has room for 8128 fibers."""
    return b'libtsan' in pathlib.Path(PROGRAM).read_bytes()


class OneServer(unittest.TestCase):
    """A server for all cases of the class; it must be well after each."""

    options = ()

    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(serve(*cls.options))

    def setUp(self):
        self.client = self.enterContext(self.server.connect())

    def tearDown(self):
        with self.server.connect() as client:
            self.assertEqual(client.get('/').status, 200, self.server.log())

    def answer_to(self, data):
        """What the server says to these bytes on a fresh connection."""
        with self.server.connect() as client:
            client.send(data)
            return client.response()


class Routes(OneServer):
    def test_text(self):
        response = self.client.get('/')
        self.assertEqual((response.status, response.body), (200, b'Hello, World!\n'))
        self.assertEqual(response.fields['content-type'], 'text/plain; charset=utf-8')
        self.assertRegex(response.fields['date'],
                         r'^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$')

    def test_json(self):
        response = self.client.get('/json')
        self.assertEqual((response.status, response.body), (200, b'{"message":"Hello, World!"}'))
        self.assertEqual(response.fields['content-type'], 'application/json')

    def test_stream_comes_in_chunks(self):
        response = self.client.get('/stream')
        self.assertEqual(response.chunks, [b'line %d\n' % i for i in range(1, 6)])
        self.assertEqual(self.client.get('/').status, 200)

    def test_stream_to_http_1_0_ends_with_the_connection(self):
        self.client.send('GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
        response = self.client.response()
        self.assertNotIn('transfer-encoding', response.fields)
        self.assertEqual(response.body, b''.join(b'line %d\n' % i for i in range(1, 6)))

    def test_sleep_takes_its_time(self):
        start = time.monotonic()
        response = self.client.get('/sleep?ms=200')
        self.assertEqual((response.status, response.body), (200, b'slept 200 ms\n'))
        self.assertGreaterEqual(time.monotonic() - start, 0.2)

    def test_sleepers_do_not_wait_for_each_other(self):
        clients = [self.enterContext(self.server.connect()) for _ in range(50)]
        self.client.send(request('GET', '/sleep?ms=10000'))
        for client in clients:
            client.send(request('GET', '/sleep?ms=50'))
        for client in clients:
            self.assertEqual(client.response().status, 200)
        self.assertTrue(self.client.silent_for(0))

    def test_sleep_refuses_what_is_no_sensible_number(self):
        for query in ['', '?', '?ms', '?ms=', '?ms=abc', '?ms=-1', '?ms=1x', '?ms=10001',
                      '?ms=99999999999999999999', '?other=1', '?ms=%31']:
            response = self.client.get('/sleep' + query)
            self.assertEqual(response.status, 400, query)
            self.assertIn(b'10000', response.body)

    def test_echo_returns_the_body(self):
        body = random.Random(1).randbytes(300_000)
        response = self.client.request('POST', '/echo', body=body)
        self.assertEqual((response.status, response.body), (200, body))

    def test_echo_takes_a_chunked_body(self):
        self.client.send(request('POST', '/echo', ['Transfer-Encoding: chunked']) +
                         b'3\r\nabc\r\n' b'4;extension\r\ndefg\r\n' b'0\r\n\r\n')
        self.assertEqual(self.client.response().body, b'abcdefg')
        self.assertEqual(self.client.get('/').status, 200)

    def test_expect_continue(self):
        self.client.send(request('POST', '/echo', ['Expect: 100-continue', 'Content-Length: 3']))
        self.assertEqual(self.client.response().status, 100)
        self.client.send(b'abc')
        self.assertEqual(self.client.response().body, b'abc')

    def test_head_has_the_fields_and_no_body(self):
        for target in ['/', '/json', '/stream', '/sleep?ms=1']:
            self.assertEqual(self.client.request('HEAD', target).status, 200, target)
        self.assertEqual(self.client.request('HEAD', '/').fields['content-length'], '14')
        self.assertEqual(self.client.request('HEAD', '/nowhere').status, 404)
        self.assertEqual(self.client.get('/').status, 200)  # nothing stands before it

    def test_absolute_form(self):
        self.assertEqual(self.client.get('http://test/json').status, 200)
        self.assertEqual(self.client.get('http://test').status, 200)

    def test_escapes_in_the_path(self):
        self.assertEqual(self.client.get('/%6aso%6E').status, 200)

    def test_no_files_without_a_root(self):
        self.assertEqual(self.client.get('/files/a').status, 404)

    def test_overflow_is_not_offered_by_default(self):
        self.assertEqual(self.client.get('/overflow').status, 404)


class KeepAlive(OneServer):
    def test_many_requests_on_one_connection(self):
        for _ in range(200):
            self.assertEqual(self.client.get('/').status, 200)

    def test_fifty_pipelined_requests_are_answered_in_order(self):
        bodies = [b'request %d' % i for i in range(50)]
        self.client.send(b''.join(request('POST', '/echo', body=body) for body in bodies))
        for body in bodies:
            self.assertEqual(self.client.response().body, body)

    def test_pipelined_chunked_answers(self):
        self.client.send(request('GET', '/stream') * 5 + request('GET', '/'))
        for _ in range(5):
            self.assertEqual(len(self.client.response().chunks), 5)
        self.assertEqual(self.client.response().body, b'Hello, World!\n')

    def test_a_request_byte_by_byte(self):
        for byte in request('POST', '/echo', body=b'xyz'):
            self.client.send(bytes([byte]))
        self.assertEqual(self.client.response().body, b'xyz')

    def test_close_is_honoured(self):
        response = self.client.get('/', fields=['Connection: close'])
        self.assertEqual(response.fields['connection'], 'close')
        self.assertTrue(self.client.closed_within(WAIT))

    def test_http_1_0_closes_unless_asked_not_to(self):
        self.client.send('GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
        self.assertEqual(self.client.response().fields['connection'], 'keep-alive')
        self.client.send('GET / HTTP/1.0\r\n\r\n')
        self.assertEqual(self.client.response().status, 200)
        self.assertTrue(self.client.closed_within(WAIT))

    def test_a_half_closed_client_gets_its_answers(self):
        self.client.send(request('GET', '/') * 3)
        self.client.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(self.client.rest().count(b'Hello, World!'), 3)


class Refusals(OneServer):
    def assert_refused(self, data, status):
        """The answer is an error, and the connection is closed after it."""
        with self.server.connect() as client:
            client.send(data)
            response = client.response()
            self.assertEqual(response.status, status, data[:80])
            # To HTTP/1.0 it goes without saying.
            if b'HTTP/1.0' not in data:
                self.assertEqual(response.fields['connection'], 'close')
            self.assertTrue(client.closed_within(WAIT))

    def test_400_malformed(self):
        for data in [b'\r\n\r\n\r\n', b'GET\r\n\r\n', b'GET  / HTTP/1.1\r\n\r\n',
                     b'GET / HTTP/1.1\r\nHost test\r\n\r\n', b'GET / HTTP/1.1\r\n: x\r\n\r\n',
                     b'GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n', b'G\xffT / HTTP/1.1\r\n\r\n',
                     b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
                     request('GET', 'no-slash'), request('GET', '/%'), request('GET', '/%4'),
                     request('GET', '/%zz'), request('GET', '/%00'),
                     request('POST', '/echo', ['Content-Length: -1']),
                     request('POST', '/echo', ['Content-Length: 1x']),
                     request('POST', '/echo', ['Content-Length: 1', 'Content-Length: 2']),
                     request('POST', '/echo', ['Content-Length: 99999999999999999999999']),
                     request('POST', '/echo', ['Transfer-Encoding: chunked']) + b'xyz\r\n']:
            with self.subTest(data=data):
                self.assert_refused(data, 400)

    def test_400_host_missing_or_twice(self):
        self.assert_refused(b'GET / HTTP/1.1\r\n\r\n', 400)
        self.assert_refused(request('GET', '/', ['Host: other']), 400)

    def test_400_and_501_ambiguous_framing(self):
        self.assert_refused(request('POST', '/echo', ['Content-Length: 3',
                                                      'Transfer-Encoding: chunked']) + b'abc', 400)
        self.assert_refused(request('POST', '/echo', ['Transfer-Encoding: gzip']), 501)
        self.assert_refused(request('POST', '/echo', ['Transfer-Encoding: gzip, chunked']), 501)
        self.assert_refused(b'POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n', 400)

    def test_404_keeps_the_connection(self):
        for target in ['/nowhere', '/jso', '/json/', '//', '/files', '/%2e%2e/etc/passwd']:
            self.assertEqual(self.client.get(target).status, 404, target)
        self.assertEqual(self.client.get('/').status, 200)

    def test_405_names_what_is_allowed(self):
        for method, target, allow in [('POST', '/', 'GET, HEAD'), ('DELETE', '/json', 'GET, HEAD'),
                                      ('GET', '/echo', 'POST'), ('BREW', '/', 'GET, HEAD'),
                                      ('OPTIONS', '/files/a', 'GET, HEAD')]:
            response = self.client.request(method, target)
            self.assertEqual((response.status, response.fields.get('allow')), (405, allow))
        self.assertEqual(self.client.get('/').status, 200)

    def test_413_declared(self):
        self.assert_refused(request('POST', '/echo', ['Content-Length: 1048577']), 413)
        # Also when the body is under way: the answer must outlive it.
        self.assert_refused(request('POST', '/echo', body=b'x' * 1_200_000), 413)

    def test_413_chunked(self):
        self.assert_refused(request('POST', '/echo', ['Transfer-Encoding: chunked']) +
                            (b'10000\r\n' + b'x' * 0x10000 + b'\r\n') * 17, 413)

    def test_a_body_of_just_the_limit(self):
        body = b'y' * 1_048_576
        self.assertEqual(self.client.request('POST', '/echo', body=body).body, body)

    def test_431_one_field_many_fields_and_the_target(self):
        self.assert_refused(request('GET', '/', ['A: ' + 'x' * 9000]), 431)
        self.assert_refused(request('GET', '/', ['A: x'] * 2000), 431)
        self.assert_refused(request('GET', '/' + 'x' * 9000), 431)

    def test_505(self):
        self.assert_refused(b'GET / HTTQ/1.1\r\n\r\n', 505)
        self.assert_refused(b'GET / HTTP/2.0\r\nHost: a\r\n\r\n', 505)
        self.assert_refused(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505)


class BadClients(OneServer):
    def test_garbage(self):
        noise = random.Random(2)
        for size in [1, 2, 7, 100, 1000, 10_000, 100_000]:
            with self.server.connect() as client:
                client.send(noise.randbytes(size))
                client.socket.shutdown(socket.SHUT_WR)
                try:
                    self.assertRegex(client.rest(), rb'^(HTTP/1\.1 (400|431|505) |$)')
                except ConnectionResetError:
                    pass

    def test_requests_with_one_byte_changed(self):
        noise = random.Random(3)
        for _ in range(300):
            data = bytearray(request('POST', '/echo', ['X-A: b'], b'12345'))
            data[noise.randrange(len(data))] = noise.randrange(256)
            with self.server.connect() as client:
                client.send(bytes(data))
                client.socket.shutdown(socket.SHUT_WR)
                self.assertRegex(client.rest(), rb'^HTTP/1\.[01] [245]\d\d ')

    def test_half_a_request_then_the_end(self):
        whole = request('POST', '/echo', ['A: b'], b'0123456789')
        for size in range(0, len(whole), 5):
            with self.server.connect() as client:
                client.send(whole[:size])
                client.socket.shutdown(socket.SHUT_WR)
                self.assertRegex(client.rest(), rb'^(HTTP/1\.1 400 |$)')

    def test_half_a_request_then_gone(self):
        whole = request('POST', '/echo', ['A: b'], b'0123456789')
        for size in range(len(whole)):
            client = self.server.connect()
            client.send(whole[:size])
            client.reset() if size % 2 else client.close()

    def test_reset_while_the_answer_is_made(self):
        for target in ['/stream', '/sleep?ms=50', '/']:
            for _ in range(20):
                client = self.server.connect()
                client.send(request('GET', target) * 3)
                client.reset()

    def test_many_connections_that_come_and_go(self):
        for _ in range(500):
            self.server.connect().close()


class SlowClients(OneServer):
    options = ('--header-timeout', '0.3', '--idle-timeout', '1', '--write-timeout', '0.5')

    def test_408_when_the_header_does_not_end(self):
        start = time.monotonic()
        self.client.send('GET / HTTP/1.1\r\n')
        self.assertEqual(self.client.response().status, 408)
        self.assertGreater(time.monotonic() - start, 0.25)
        self.assertTrue(self.client.closed_within(WAIT))

    def test_408_however_steadily_it_drips(self):
        self.client.send('GET / HTTP/1.1\r\n')
        for i in range(200):
            try:
                self.client.send(f'X-{i}: y\r\n')
            except (BrokenPipeError, ConnectionResetError):
                break
            if not self.client.silent_for(0.02):
                break
        else:
            self.fail('still open after four seconds')
        self.assertEqual(self.client.response().status, 408)

    def test_an_idle_connection_is_closed_without_a_word(self):
        start = time.monotonic()
        self.assertEqual(self.client.get('/').status, 200)
        self.assertTrue(self.client.closed_within(WAIT))
        self.assertEqual(self.client.buffer, b'')
        self.assertGreaterEqual(time.monotonic() - start, 1)

    def test_slow_ones_do_not_hold_up_the_others(self):
        slow = [self.enterContext(self.server.connect()) for _ in range(200)]
        for client in slow:
            client.send('GET / HTTP/1.1\r\nA:')
        for _ in range(50):
            self.assertEqual(self.client.get('/').status, 200)
        for client in slow:
            self.assertEqual(client.response().status, 408)


class Files(OneServer):
    LARGE = 32 * 1024 * 1024

    @classmethod
    def setUpClass(cls):
        top = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        root = top / 'site'
        (root / 'sub').mkdir(parents=True)
        (top / 'secret.txt').write_text('secret')
        (root / 'hello.txt').write_text('hello, file\n')
        (root / 'empty.txt').touch()
        (root / 'sub' / 'page.html').write_text('<p>')
        (root / 'with space.json').write_text('{}')
        (root / 'odd').write_text('?')
        (root / 'locked.txt').write_text('locked')
        (root / 'locked.txt').chmod(0)
        (root / 'link.txt').symlink_to(top / 'secret.txt')
        (root / 'uplink').symlink_to('..')
        os.mkfifo(root / 'fifo')
        cls.pattern = random.Random(4).randbytes(1024 * 1024)
        with open(root / 'large.bin', 'wb') as file:
            for _ in range(cls.LARGE // len(cls.pattern)):
                file.write(cls.pattern)
        cls.options = ('--root', str(root))
        super().setUpClass()

    def test_content_and_type(self):
        for name, body, kind in [('hello.txt', b'hello, file\n', 'text/plain; charset=utf-8'),
                                 ('empty.txt', b'', 'text/plain; charset=utf-8'),
                                 ('sub/page.html', b'<p>', 'text/html; charset=utf-8'),
                                 ('with%20space.json', b'{}', 'application/json'),
                                 ('odd?query', b'?', 'application/octet-stream')]:
            response = self.client.get('/files/' + name)
            self.assertEqual((response.status, response.body), (200, body), name)
            self.assertEqual(response.fields['content-type'], kind)

    def test_head(self):
        response = self.client.request('HEAD', '/files/hello.txt')
        self.assertEqual((response.status, response.fields['content-length']), (200, '12'))
        self.assertEqual(self.client.get('/files/hello.txt').body, b'hello, file\n')

    def test_a_large_file_arrives_whole(self):
        body = self.client.get('/files/large.bin').body
        self.assertEqual(len(body), self.LARGE)
        self.assertEqual(body, self.pattern * (self.LARGE // len(self.pattern)))

    def test_404(self):
        for name in ['', 'none', 'sub', 'sub/', 'sub/none', 'hello.txt/', 'hello.txt/x', 'fifo',
                     'x' * 300, 'sub//page.html']:
            self.assertEqual(self.client.get('/files/' + name).status, 404, name)

    def test_no_escape_from_the_root(self):
        for name in ['../secret.txt', '%2e%2e/secret.txt', '..%2fsecret.txt', '%2e%2e%2fsecret.txt',
                     'sub/../../secret.txt', './../secret.txt', 'sub/..%2f..%2fsecret.txt',
                     '/etc/passwd', '%2fetc/passwd', '//etc/passwd', '....//secret.txt',
                     '..%5csecret.txt', '%252e%252e/secret.txt', 'link.txt', 'uplink/secret.txt',
                     'uplink/site/hello.txt', '..', '../', '.', './hello.txt']:
            response = self.client.get('/files/' + name)
            self.assertIn(response.status, (403, 404), name)
            self.assertNotIn(b'secret', response.body)
        # The root of another route is not a way in, either.
        self.assertIn(self.client.get('/../secret.txt').status, (403, 404))

    @unittest.skipIf(os.geteuid() == 0, 'root reads everything')
    def test_403_without_permission(self):
        self.assertEqual(self.client.get('/files/locked.txt').status, 403)

    def test_reset_in_the_middle_of_an_answer(self):
        for _ in range(10):
            client = self.server.connect()
            client.send(request('GET', '/files/large.bin'))
            client.socket.recv(1000)
            client.reset()

    def test_a_client_that_does_not_read_is_cut_off(self):
        patience = ('--write-timeout', '0.5')
        with serve(*self.options, *patience) as server, server.connect() as client:
            self.assertEqual(client.get('/').status, 200)
            connected = server.open_descriptors()
            client.send(request('GET', '/files/large.bin'))
            self.assertTrue(eventually(lambda: server.open_descriptors() < connected))
            try:
                received = len(client.rest())
            except ConnectionResetError:
                received = 0
            self.assertLess(received, self.LARGE)


class Faults(unittest.TestCase):
    def test_a_handler_that_throws(self):
        with serve() as server, server.connect() as client:
            for _ in range(3):
                self.assertEqual(client.get('/throw').status, 500)
                self.assertEqual(client.get('/').status, 200)
            self.assertIn('GET /throw: thrown by the handler', server.log())

    def test_many_handlers_that_throw_at_once(self):
        with serve() as server:
            clients = [self.enterContext(server.connect()) for _ in range(50)]
            for client in clients:
                client.send(request('GET', '/throw') * 10)
            for client in clients:
                for _ in range(10):
                    self.assertEqual(client.response().status, 500)

    def test_a_handler_that_overflows_its_stack_is_reported_and_fatal(self):
        with serve('--unsafe-routes') as server, server.connect() as client:
            client.send(request('GET', '/overflow'))
            code = server.wait()
            log = server.log()
            self.assertIn('fiber "connection"', log)
            self.assertRegex(log, r'overflowed its \d+ KiB stack.*\bstack_size\b')
            # A sanitizer takes the signal over, and ends the process its own way.
            self.assertTrue(code == -signal.SIGSEGV or 'Sanitizer:DEADLYSIGNAL' in log, code)

    def test_descriptors_run_out(self):
        # Accepting waits for a free descriptor, without spinning, and goes on.
        root = self.enterContext(tempfile.TemporaryDirectory())
        pathlib.Path(root, 'a.txt').write_text('a')
        with serve('--root', root, descriptors=64) as server:
            clients = [server.connect() for _ in range(120)]
            self.addCleanup(lambda: [client.close() for client in clients])
            self.assertEqual(clients[0].get('/').status, 200)

            last = clients[-1]
            last.send(request('GET', '/'))
            for _ in range(20):
                self.assertEqual(clients[0].get('/files/a.txt').status, 503)
            self.assertTrue(last.silent_for(0), 'served beyond the limit')
            self.assertTrue(server.rests_for(1, switches_most=500), 'it spins')
            self.assertTrue(last.silent_for(0))
            self.assertEqual(clients[0].get('/').status, 200)

            for client in clients[:100]:
                client.close()
            self.assertEqual(last.response().status, 200)
            self.assertEqual(last.get('/files/a.txt').status, 200)

    def test_ten_thousand_idle_connections(self):
        count = 2000 if under_tsan() else 10_000
        limit = soft_descriptor_limit(count + 100)
        if limit < count + 100:
            self.skipTest(f'the hard limit of descriptors is {limit}; {count + 100} are needed')
        with serve('--idle-timeout', '600') as server:
            idle = [self.enterContext(server.connect()) for _ in range(count)]
            active = idle[::count // 20]
            for _ in range(20):
                for client in active:
                    self.assertEqual(client.get('/').status, 200)
            # TSan has a thread of its own that looks ten times a second.
            self.assertTrue(server.rests_for(1, switches_most=50 if under_tsan() else 0),
                            'it works for idle connections')
            for client in idle:
                client.send(request('GET', '/'))
            for client in idle:
                self.assertEqual(client.response().status, 200)
            server.signal()
            self.assertEqual(server.wait(), 0)


class Limits(unittest.TestCase):
    def test_accepting_pauses_at_the_limit(self):
        with serve('--max-connections', '4') as server:
            inside = [self.enterContext(server.connect()) for _ in range(4)]
            for client in inside:
                self.assertEqual(client.get('/').status, 200)
            outside = [self.enterContext(server.connect()) for _ in range(2)]
            for client in outside:
                client.send(request('GET', '/'))
                for _ in range(20):
                    self.assertEqual(inside[0].get('/').status, 200)
                self.assertTrue(client.silent_for(0))
            for leaving, entering in zip(inside, outside):
                leaving.close()
                self.assertEqual(entering.response().status, 200)

    def test_one_at_a_time(self):
        with serve('--max-connections', '1') as server:
            for _ in range(200):
                with server.connect() as client:
                    self.assertEqual(client.get('/').status, 200)


class Stopping(unittest.TestCase):
    def begin(self, client, data):
        """Sends `data` so that the server has read it for certain: with a request
        before it, whose answer has come.
        """
        client.send(request('GET', '/') + data)
        self.assertEqual(client.response().status, 200)

    def test_what_is_in_flight_is_finished(self):
        for number in [signal.SIGTERM, signal.SIGINT]:
            with self.subTest(number.name), serve() as server:
                busy = self.enterContext(server.connect())
                idle = self.enterContext(server.connect())
                fresh = self.enterContext(server.connect())
                self.assertEqual(idle.get('/').status, 200)
                self.begin(busy, request('GET', '/sleep?ms=2000'))
                server.signal(number)
                self.assertTrue(idle.closed_within(WAIT))
                self.assertTrue(fresh.closed_within(WAIT))
                self.assertTrue(busy.silent_for(0))
                with self.assertRaises(ConnectionError):
                    server.connect()
                response = busy.response()
                self.assertEqual((response.status, response.body), (200, b'slept 2000 ms\n'))
                self.assertEqual(response.fields['connection'], 'close')
                busy.close()
                self.assertEqual(server.wait(), 0)
                self.assertEqual(server.log(), '')

    def test_a_stream_is_finished(self):
        with serve() as server, server.connect() as client:
            client.send(request('GET', '/stream'))
            client.socket.recv(1)
            server.signal()
            self.assertEqual(client.rest().count(b'line'), 5)
            client.close()
            self.assertEqual(server.wait(), 0)

    def test_a_half_request_delays_the_stop_no_longer_than_its_time_out(self):
        with serve('--header-timeout', '0.5') as server, server.connect() as client:
            self.begin(client, b'GET /')
            server.signal()
            self.assertEqual(client.response().status, 408)
            client.close()
            self.assertEqual(server.wait(), 0)

    def test_without_any_connection(self):
        with serve() as server:
            server.signal()
            self.assertEqual(server.wait(), 0)

    def test_at_the_connection_limit(self):
        with serve('--max-connections', '1') as server, server.connect() as client:
            self.assertEqual(client.get('/').status, 200)
            server.signal()
            self.assertEqual(server.wait(), 0)

    def test_while_clients_keep_coming(self):
        with serve() as server:
            clients = [self.enterContext(server.connect()) for _ in range(100)]
            for client in clients:
                client.send(request('GET', '/') * 20)
            server.signal()
            for client in clients:
                try:
                    client.rest()
                except ConnectionResetError:
                    pass
                client.close()
            self.assertEqual(server.wait(), 0)

    def test_a_second_signal_ends_it_at_once(self):
        with serve() as server, server.connect() as busy, server.connect() as idle:
            self.begin(busy, request('GET', '/sleep?ms=10000'))
            server.signal()
            self.assertTrue(idle.closed_within(WAIT))
            server.signal()
            self.assertEqual(server.wait(), 128 + signal.SIGTERM)


class CommandLine(unittest.TestCase):
    def run_server(self, *options):
        return subprocess.run([PROGRAM, *options], capture_output=True, text=True, timeout=WAIT)

    def test_help(self):
        run = self.run_server('--help')
        self.assertEqual((run.returncode, run.stderr), (0, ''))
        for option in ['--host', '--port', '--workers', '--io', '--max-connections', '--root',
                       '--header-timeout', '--unsafe-routes', '--help']:
            self.assertIn(option, run.stdout)

    def test_what_is_malformed_is_refused_by_name(self):
        for options in [('--port', 'x'), ('--port', '65536'), ('--port', '-1'), ('--port', ''),
                        ('--workers', '1.5'), ('--io', 'select'), ('--max-connections', '0'),
                        ('--header-timeout', '0'), ('--header-timeout', 'nan'), ('--bogus',),
                        ('--port',), ('stray',)]:
            run = self.run_server(*options)
            self.assertEqual((run.returncode, run.stdout), (2, ''), options)
            self.assertIn(options[0].lstrip('-'), run.stderr)
            self.assertIn('--help', run.stderr)

    def test_what_cannot_be_had_is_named(self):
        with socket.create_server(('127.0.0.1', 0)) as taken:
            port = str(taken.getsockname()[1])
            run = self.run_server('--port', port)
            self.assertEqual(run.returncode, 1)
            self.assertIn('127.0.0.1:' + port, run.stderr)
        for option, value in [('--host', 'not-an-address'), ('--root', '/nonexistent')]:
            run = self.run_server('--port', '0', option, value)
            self.assertEqual(run.returncode, 1)
            self.assertIn(value, run.stderr)


class Load(OneServer):
    @unittest.skipIf(shutil.which('wrk') is None, 'wrk is not installed')
    def test_two_seconds_of_wrk(self):
        url = f'http://127.0.0.1:{self.server.port}/'
        run = subprocess.run(['wrk', '-t1', '-c64', '-d2s', url],
                             capture_output=True, text=True, timeout=30)
        self.assertNotIn('Socket errors', run.stdout)
        self.assertNotIn('Non-2xx', run.stdout)
        self.assertGreater(int(re.search(r'(\d+) requests in', run.stdout)[1]), 100, run.stdout)


def main():
    global PROGRAM, IO
    program, option, IO, *arguments = sys.argv[1:]
    assert option == '--io', __doc__
    PROGRAM = os.path.abspath(program)
    try:
        with serve():
            pass
    except NoUring as error:
        print(error)
        return 77
    result = unittest.main(argv=[sys.argv[0], *arguments], exit=False, verbosity=2).result
    return 0 if result.wasSuccessful() else 1


if __name__ == '__main__':
    sys.exit(main())
