#!/usr/bin/env python3
"""Black-box test of weft-run.

Goal: a program that knows nothing of weft says the same under it, and its threads are fibers.
Method: programs built without weft, and one of Debian's, on 127.0.0.1.

usage: weft_run_test.py WEFT_RUN THREAD_PROGRAM SIGNAL_PROGRAM PLAIN_THREADS CANCEL_PROGRAM CANCEL_PROGRAM_IN_C [unittest arguments]
"""

import contextlib
import http.server
import itertools
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

RUN = PROGRAM = SIGNALS = POOL = SERVER = ''
CANCEL = []
IO = ['auto', 'epoll']
CONNECTIONS = 500


def threads_of(pid):
    return len(os.listdir(f'/proc/{pid}/task'))


def library():
    return pathlib.Path(RUN).with_name('libweft-hooks.so')


def kinds_of_io():
    """Those that this machine has."""
    uring = subprocess.run([RUN, '--threads', '--io=uring', 'true'], capture_output=True, timeout=20)
    return ['epoll', 'uring'] if uring.returncode == 0 else ['epoll']


def until(true, what):
    """A process has no event to wait for when it listens."""
    for _ in range(200):
        if true():
            return
        time.sleep(0.05)
    raise TimeoutError(what)


def answers(port):
    try:
        socket.create_connection(('127.0.0.1', port), timeout=5).close()
        return True
    except ConnectionRefusedError:
        return False


class Programs(unittest.TestCase):
    def run_both(self, *command):
        plain = subprocess.run(command, capture_output=True, timeout=60)
        for workers, io in itertools.product(['1', '2', '8'], IO):
            with self.subTest(workers=workers, io=io):
                hooked = subprocess.run([RUN, '--threads', f'--workers={workers}', f'--io={io}', *command],
                                        capture_output=True, timeout=60)
                self.assertEqual(hooked.stdout.decode(), plain.stdout.decode())
                self.assertEqual(hooked.returncode, plain.returncode, hooked.stderr.decode())

    def test_a_program_with_threads_says_the_same(self):
        self.run_both(PROGRAM)
        self.run_both(PROGRAM, '3')

    def test_main_is_cancelled_and_joined(self):
        self.run_both(PROGRAM, 'cancelled')

    def test_a_program_that_cancels_threads_says_the_same(self):
        for program in CANCEL:
            self.run_both(program)

    def test_a_program_with_signals_says_the_same(self):
        self.run_both(SIGNALS)

    def test_a_static_object_joins_its_thread_at_exit(self):
        self.run_both(POOL)
        self.run_both(POOL, 'from a thread')

    def test_a_program_that_a_thread_becomes_has_the_mask_of_that(self):
        self.run_both(SIGNALS, 'exec')

    def test_a_thread_that_raises_a_signal_ends_the_program(self):
        self.run_both(SIGNALS, 'killed')

    def test_thread_locals_are_warned_of(self):
        done = subprocess.run([RUN, '--threads', PROGRAM], capture_output=True, timeout=60)
        self.assertNotIn('thread-local', done.stderr.decode())
        done = subprocess.run([RUN, '--threads', SIGNALS, 'exec'], capture_output=True, timeout=60)
        self.assertIn('bytes of thread-local variables', done.stderr.decode())

    def test_without_threads_nothing_changes(self):
        plain = subprocess.run(['sh', '-c', 'echo $0; exit 4', 'a'], capture_output=True)
        hooked = subprocess.run([RUN, 'sh', '-c', 'echo $0; exit 4', 'a'], capture_output=True)
        self.assertEqual((plain.stdout, plain.returncode), (hooked.stdout, hooked.returncode))


# Waits for a while and for what is said to it, says that, and ends by exit().
PERL = 'select(undef, undef, undef, 0.01); sysread(STDIN, $_, 10); syswrite(STDOUT, $_); sleep(0); exit(3)'


@unittest.skipUnless(shutil.which('perl'), 'needs perl')
class Taken(unittest.TestCase):
    """That the calls of a program are taken, and do not only work."""

    def report_of(self, command, **variables):
        """{name: (taken, left to libc)} of PERL, as the report at its end has it."""
        done = subprocess.run([*command, 'perl', '-e', PERL], input=b'said', capture_output=True, timeout=60,
                              env=os.environ | variables)
        self.assertEqual((done.stdout, done.returncode), (b'said', 3), done.stderr.decode())
        rows = re.findall(r'^  (\w+) +(\d+) +(\d+)$', done.stderr.decode(), re.M)
        return {name: (int(taken), int(left)) for name, taken, left in rows}

    def test_by_weft_run(self):
        for options in itertools.product([f'--io={io}' for io in kinds_of_io()], ['--workers=1', '--workers=8']):
            with self.subTest(options=options):
                report = self.report_of([RUN, '--threads', '--report', *options])
                for name in 'read', 'write', 'select':
                    self.assertGreater(report[name][0], 0)
                    self.assertEqual(report[name][1], 0)

    def test_by_the_preload_alone(self):
        report = self.report_of([], LD_PRELOAD=str(library()), WEFT_RUN_THREADS='1', WEFT_HOOKS_REPORT='1')
        self.assertGreater(report['select'][0], 0)

    def test_of_a_program_that_closes_stderr_before_it_ends(self):
        for options in [], ['--threads']:
            done = subprocess.run([RUN, '--report', *options, 'cat'], stdin=subprocess.DEVNULL, capture_output=True,
                                  timeout=60)
            self.assertEqual(done.returncode, 0)
            self.assertIn('patched:', done.stderr.decode())

    def test_only_what_is_asked_for(self):
        report = self.report_of([RUN, '--threads', '--report', '--hooks=select'])
        self.assertGreater(report['select'][0], 0)
        self.assertNotIn('read', report)

    def test_nothing_outside_fibers(self):
        self.assertEqual(self.report_of([RUN, '--report']), {})

    def test_io_is_what_was_asked_for(self):
        for io in kinds_of_io():
            program = subprocess.Popen([RUN, '--threads', f'--io={io}', 'cat'], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE)
            program.stdin.write(b'there\n')
            program.stdin.flush()
            self.assertEqual(program.stdout.readline(), b'there\n')
            open_ones = [os.readlink(each) for each in pathlib.Path(f'/proc/{program.pid}/fd').iterdir()]
            program.communicate(timeout=20)
            self.assertEqual(program.returncode, 0)
            self.assertEqual('anon_inode:[io_uring]' in open_ones, io == 'uring', open_ones)


class Refusals(unittest.TestCase):
    def refused(self, *arguments):
        done = subprocess.run([RUN, *arguments], capture_output=True, timeout=20)
        return done.returncode, done.stderr.decode()

    def test_what_is_wrong_is_said(self):
        self.assertEqual(self.refused()[0], 2)
        self.assertEqual(self.refused('--nonsense', 'true')[0], 2)
        code, text = self.refused('no-such-program')
        self.assertEqual(code, 127)
        self.assertIn('no-such-program', text)

    def test_a_static_program_is_refused(self):
        compiler = shutil.which('cc') or shutil.which('g++')
        if compiler is None:
            self.skipTest('no compiler')
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder) / 'empty.c'
            source.write_text('int main(void) { return 0; }\n')
            program = str(pathlib.Path(folder) / 'empty')
            subprocess.run([compiler, '-static', '-o', program, str(source)], check=True)
            code, text = self.refused(program)
            self.assertEqual(code, 126)
            self.assertIn('statically', text)


class Server(unittest.TestCase):
    def check_connections(self, io):
        server = subprocess.Popen([RUN, '--threads', '--workers=2', f'--io={io}', SERVER, '0'],
                                  stdout=subprocess.PIPE)
        try:
            port = int(server.stdout.readline().rsplit(b':', 1)[1])
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(socket.create_connection(('127.0.0.1', port), timeout=20))
                           for _ in range(CONNECTIONS)]
                for client in clients:
                    client.sendall(b'a\nb\n')
                counts = [int(client.recv(100)) for client in clients]
                self.assertEqual(max(counts), 2 * CONNECTIONS)
                self.assertEqual(len(set(counts)), CONNECTIONS)
                self.assertLess(threads_of(server.pid), 20)
        finally:
            server.send_signal(signal.SIGTERM)
            self.assertEqual(server.wait(timeout=20), -signal.SIGTERM)
            server.stdout.close()

    def test_a_thread_for_each_connection_is_a_fiber(self):
        for io in IO:
            with self.subTest(io=io):
                self.check_connections(io)

    def check_stop(self, *runner):
        with subprocess.Popen([*runner, SIGNALS, 'serve'], stdout=subprocess.PIPE) as server:
            port = int(server.stdout.readline().split()[1])
            for _ in range(20):
                with socket.create_connection(('127.0.0.1', port), timeout=20) as client:
                    client.sendall(b'x')
                    self.assertEqual(client.recv(1), b'x')
            server.send_signal(signal.SIGTERM)
            self.assertEqual(server.stdout.read(), b'echoed 20\n')
            self.assertEqual(server.wait(timeout=20), 0)

    def test_a_thread_that_waits_for_the_signal_stops_the_server(self):
        self.check_stop()
        for workers, io in itertools.product(['1', '2'], IO):
            with self.subTest(workers=workers, io=io):
                self.check_stop(RUN, '--threads', f'--workers={workers}', f'--io={io}')


class Slow(http.server.BaseHTTPRequestHandler):
    """Answers when as many have asked as are to be there at once."""
    together = threading.Barrier(1)

    def do_GET(self):
        self.together.wait(timeout=60)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'hello')

    def log_message(self, *_):
        pass


class Listening(http.server.ThreadingHTTPServer):
    request_queue_size = 1000
    daemon_threads = True


@unittest.skipUnless(shutil.which('tinyproxy') and shutil.which('curl'), 'needs tinyproxy (tinyproxy-bin) and curl')
class Tinyproxy(unittest.TestCase):
    """A proxy that has a thread for each connection."""
    together = 60

    def setUp(self):
        Slow.together = threading.Barrier(self.together)
        self.origin = Listening(('127.0.0.1', 0), Slow)
        threading.Thread(target=self.origin.serve_forever, daemon=True).start()
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            self.port = free.getsockname()[1]
        configuration = folder / 'tinyproxy.conf'
        configuration.write_text(f'Port {self.port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 200\nLogLevel Error\n')
        self.proxy = subprocess.Popen([RUN, '--threads', '--workers=2', 'tinyproxy', '-d', '-c', str(configuration)],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: answers(self.port), 'tinyproxy does not listen')

    def tearDown(self):
        self.proxy.send_signal(signal.SIGTERM)
        self.assertEqual(self.proxy.wait(timeout=20), 0)  # its own way to end
        self.origin.shutdown()
        self.origin.server_close()

    def test_many_at_once(self):
        url = f'http://127.0.0.1:{self.origin.server_address[1]}/'
        clients = [subprocess.Popen(['curl', '-s', '--max-time', '60', '-x', f'http://127.0.0.1:{self.port}', url],
                                    stdout=subprocess.PIPE) for _ in range(self.together)]
        for client in clients:
            self.assertEqual(client.communicate(timeout=90)[0], b'hello')


if __name__ == '__main__':
    RUN, PROGRAM, SIGNALS, POOL, SERVER, *CANCEL = sys.argv[1:8]
    unittest.main(argv=[sys.argv[0], *sys.argv[8:]])
