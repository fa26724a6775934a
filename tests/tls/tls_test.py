#!/usr/bin/env python3
"""Black-box test of the TLS examples.

Goal: a TLS server and client that prove and check who they are. Method: certificates made
for the occasion, the real programs on 127.0.0.1 against each other, curl and Python's ssl.

usage: tls_test.py HTTPS_SERVER HTTPS_GET [unittest arguments]
"""

import contextlib
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import unittest

SERVER = ''
CLIENT = ''
HELLO = b'hello, and nobody listens\n'


def openssl(*arguments):
    subprocess.run(['openssl', *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_certificate(directory, name, host):
    """One that vouches for itself. Returns the paths of it and its key."""
    certificate, key = str(directory / (name + '.pem')), str(directory / (name + '.key'))
    openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
            '-subj', '/CN=' + host, '-addext', 'subjectAltName=DNS:' + host, '-keyout', key, '-out', certificate)
    return certificate, key


@contextlib.contextmanager
def serving(certificate, key):
    """The port of a server."""
    server = subprocess.Popen([SERVER, '0', certificate, key], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield int(server.stdout.readline().rsplit(b':', 1)[1])
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=20)


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.good = make_certificate(directory, 'good', 'localhost')
        cls.other = make_certificate(directory, 'other', 'localhost')
        cls.elsewhere = make_certificate(directory, 'elsewhere', 'example.org')
        cls.port = cls.enterClassContext(serving(*cls.good))
        cls.elsewhere_port = cls.enterClassContext(serving(*cls.elsewhere))

    def curl(self, *arguments, port=None):
        return subprocess.run(['curl', '-sS', '--max-time', '20', *arguments,
                               f'https://localhost:{port or self.port}/'], capture_output=True)

    def get(self, *arguments):
        return subprocess.run([CLIENT, *arguments], capture_output=True, text=True, timeout=30)

    def test_curl_verifies_the_server(self):
        for version in ('--tlsv1.2', '--tlsv1.3'):
            done = self.curl('--cacert', self.good[0], version)
            self.assertEqual((done.returncode, done.stdout), (0, HELLO), done.stderr)

    def test_curl_keeps_the_connection(self):
        url = f'https://localhost:{self.port}/'
        done = subprocess.run(['curl', '-sSv', '--max-time', '20', '--cacert', self.good[0], url, url],
                              capture_output=True)
        self.assertEqual(done.stdout, 2 * HELLO)
        self.assertIn(b'Re-using existing connection', done.stderr)

    def test_curl_refuses_a_server_it_does_not_trust(self):
        self.assertEqual(self.curl('--cacert', self.other[0]).returncode, 60)
        self.assertEqual(self.curl('--cacert', self.good[0]).returncode, 0)

    def test_many_at_once(self):
        clients = [subprocess.Popen(['curl', '-sS', '--max-time', '60', '--cacert', self.good[0],
                                     f'https://localhost:{self.port}/'], stdout=subprocess.PIPE)
                   for _ in range(30)]
        self.assertEqual([client.communicate()[0] for client in clients], 30 * [HELLO])

    def test_the_client_gets_the_page(self):
        done = self.get('localhost', str(self.port), self.good[0])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.endswith(HELLO.decode()))

    def test_the_client_refuses_whom_it_does_not_trust(self):
        done = self.get('localhost', str(self.port), self.other[0])
        self.assertEqual((done.returncode, done.stdout), (1, ''))
        self.assertIn('certificate', done.stderr)

    def test_the_client_refuses_another_host(self):
        done = self.get('localhost', str(self.elsewhere_port), self.elsewhere[0])
        self.assertEqual((done.returncode, done.stdout), (1, ''))
        self.assertIn('ostname mismatch', done.stderr)

    def test_who_speaks_no_tls_harms_nobody(self):
        with socket.create_connection(('127.0.0.1', self.port), 20) as plain:
            plain.sendall(b'GET / HTTP/1.1\r\n\r\n')
            while plain.recv(4096):
                pass
        self.test_curl_verifies_the_server()

    def test_a_handshake_cut_short_harms_nobody(self):
        with socket.create_connection(('127.0.0.1', self.port), 20) as plain:
            plain.sendall(b'\x16\x03\x01\x02\x00\x01')
        self.test_curl_verifies_the_server()

    def test_large_requests_in_small_records(self):
        context = ssl.create_default_context(cafile=self.good[0])
        with socket.create_connection(('localhost', self.port), 20) as plain:
            with context.wrap_socket(plain, server_hostname='localhost') as stream:
                stream.sendall(b'GET / HTTP/1.1\r\n')
                for _ in range(200):
                    stream.sendall(b'A: ' + 100 * b'x' + b'\r\n')
                stream.sendall(b'\r\n')
                self.assertIn(b'200 OK', stream.recv(4096))
                stream.unwrap()


if __name__ == '__main__':
    SERVER, CLIENT = sys.argv[1:3]
    del sys.argv[1:3]
    unittest.main(verbosity=2)
