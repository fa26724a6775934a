#!/usr/bin/env python3
"""Starts servers on loopback, runs a program against them, and stops them.

usage: servers.py [--connections N] NAME... -- PROGRAM [ARGUMENT...]

NAME is postgres, redis, mariadb, web (slow_web.py, HTTP and HTTPS) or dns (slow_dns.py, in a
network of its own). The program learns where they are from its environment:

    postgres  WEFT_TEST_POSTGRES (a conninfo)                         WEFT_TEST_POSTGRES_PID
    redis     WEFT_TEST_REDIS (a port)                                WEFT_TEST_REDIS_PID
    mariadb   WEFT_TEST_MARIADB (a port; user root, no password)      WEFT_TEST_MARIADB_PID
    web       WEFT_TEST_HTTP, WEFT_TEST_HTTPS (ports), WEFT_TEST_CA   WEFT_TEST_WEB_PID
    dns       WEFT_TEST_DNS (a port: slow_dns.py tells what for)      WEFT_TEST_DNS_PID

An ARGUMENT may have @WEFT_TEST_...@ in it, which stands for that variable.

Exit code: the program's, or 77 (skipped), with a line that says why, where a server is not
installed. Everything a server writes is in a directory that goes with it.
"""

import argparse
import contextlib
import ctypes
import fcntl
import glob
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)


class NotInstalled(Exception):
    pass


def program(*names):
    """The path of the first of them that there is."""
    for name in names:
        found = sorted(glob.glob(name)) if '/' in name else [shutil.which(name, path=os.environ['PATH'] + ':/usr/sbin')]
        if found and found[-1]:
            return found[-1]
    raise NotInstalled(f'there is no {names[0]}: sh tests/install_packages.sh tests')


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as taken:
        return str(taken.getsockname()[1])


def unprivileged(*names):
    """Popen's arguments to become one of these users, for who is root; else none."""
    if os.geteuid() != 0:
        return {}
    for name in names:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {'user': entry.pw_uid, 'group': entry.pw_gid, 'extra_groups': []}
    raise NotInstalled(f'there is no user {names[0]}')


class Servers(contextlib.ExitStack):
    """Starts them; they end with it, in reverse order, and with this process in any case."""

    def __init__(self, connections):
        super().__init__()
        self.connections = connections
        self.environment = dict(os.environ)

    def directory(self, owner):
        path = self.enter_context(tempfile.TemporaryDirectory(prefix='weft-server-'))
        if owner:
            os.chown(path, owner['user'], owner['group'])
        return path

    def spawn(self, arguments, ready, owner, stop=signal.SIGKILL, **options):
        """Starts a server and waits for the line with `ready`. Returns (process, that line)."""
        server = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors='replace', preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, stop), **owner, **options)
        self.callback(self.end, server, stop)
        log = []
        for line in server.stdout:
            log.append(line)
            if ready in line:
                break
        else:
            sys.exit(f'{arguments[0]} ended with {server.wait()}:\n{"".join(log)}')
        # It must not stop for a pipe that nobody reads.
        threading.Thread(target=server.stdout.read, daemon=True).start()
        return server, line

    @staticmethod
    def end(server, stop):
        server.send_signal(stop)
        server.wait()

    def postgres(self):
        where = '/usr/lib/postgresql/*/bin/'
        server, make = program(where + 'postgres'), program(where + 'initdb')
        owner = unprivileged('postgres', 'nobody')
        data = self.directory(owner) + '/data'
        subprocess.run([make, '-D', data, '-U', 'weft', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'],
                       check=True, stdout=subprocess.DEVNULL, cwd='/', **owner)
        port = free_port()
        settings = {
            'listen_addresses': '127.0.0.1', 'port': port, 'unix_socket_directories': '', 'fsync': 'off',
            'max_connections': self.connections + 20, 'shared_buffers': '16MB', 'autovacuum': 'off',
            'max_wal_senders': 0, 'max_logical_replication_workers': 0, 'logging_collector': 'off',
        }
        options = [word for name, value in settings.items() for word in ('-c', f'{name}={value}')]
        process, _ = self.spawn([server, '-D', data, *options], 'ready to accept connections', owner,
                                stop=signal.SIGQUIT, cwd='/')
        self.environment['WEFT_TEST_POSTGRES'] = f'host=127.0.0.1 port={port} user=weft dbname=postgres sslmode=disable gssencmode=disable'
        self.environment['WEFT_TEST_POSTGRES_PID'] = str(process.pid)

    def redis(self):
        server = program('redis-server')
        port = free_port()
        process, _ = self.spawn(
            [server, '--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no',
             '--maxclients', str(self.connections + 20), '--dir', self.directory({})],
            'Ready to accept connections', {})
        self.environment['WEFT_TEST_REDIS'] = port
        self.environment['WEFT_TEST_REDIS_PID'] = str(process.pid)

    def mariadb(self):
        server, make = program('mariadbd'), program('mariadb-install-db')
        owner = unprivileged('mysql', 'nobody')
        directory = self.directory(owner)
        data = directory + '/data'
        subprocess.run([make, '--no-defaults', '--datadir=' + data, '--skip-test-db', '--cross-bootstrap',
                        '--innodb-log-file-size=8M', '--innodb-buffer-pool-size=8M'],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd='/', **owner)
        port = free_port()
        process, _ = self.spawn(
            [server, '--no-defaults', '--datadir=' + data, '--port=' + port, '--bind-address=127.0.0.1',
             f'--socket={directory}/socket', '--skip-grant-tables', '--skip-name-resolve', '--back-log=1000',
             f'--max-connections={self.connections + 20}', '--innodb-log-file-size=8M',
             '--innodb-buffer-pool-size=8M', '--innodb-flush-log-at-trx-commit=0'],
            'ready for connections', owner, cwd='/')
        self.environment['WEFT_TEST_MARIADB'] = port
        self.environment['WEFT_TEST_MARIADB_PID'] = str(process.pid)

    def web(self):
        directory = self.directory({})
        certificate, key = directory + '/certificate.pem', directory + '/key.pem'
        subprocess.run([program('openssl'), 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
                        '-nodes', '-days', '2', '-subj', '/CN=localhost', '-addext',
                        'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', certificate],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process, line = self.spawn([sys.executable, str(HERE / 'slow_web.py'), certificate, key], 'listening', {})
        _, self.environment['WEFT_TEST_HTTP'], self.environment['WEFT_TEST_HTTPS'] = line.split()
        self.environment['WEFT_TEST_CA'] = certificate
        self.environment['WEFT_TEST_WEB_PID'] = str(process.pid)

    def dns(self):
        process, line = self.spawn([sys.executable, str(HERE / 'slow_dns.py')], 'listening', {})
        self.environment['WEFT_TEST_DNS'] = line.split()[1]
        self.environment['WEFT_TEST_DNS_PID'] = str(process.pid)


def enter_own_network():
    """Goes on in a network of its own, with a name server on its loopback, or does not return.

    A process enters one as it starts: so this one starts itself again there.
    """
    if os.environ.get('WEFT_TEST_NETWORK') == 'own':
        subprocess.run(['mount', '--bind', os.environ['WEFT_TEST_RESOLV_CONF'], '/etc/resolv.conf'], check=True)
        bring_loopback_up()
        return
    command = ['unshare', '--user', '--map-root-user', '--net', '--mount']
    if subprocess.run([*command, 'true'], stderr=subprocess.DEVNULL).returncode != 0:
        raise NotInstalled('a network of one\'s own is not permitted here')
    with tempfile.NamedTemporaryFile('w', prefix='weft-resolv-') as resolv_conf:
        resolv_conf.write('nameserver 127.0.0.1\noptions timeout:30 attempts:1\n')
        resolv_conf.flush()
        os.environ.update(WEFT_TEST_NETWORK='own', WEFT_TEST_RESOLV_CONF=resolv_conf.name)
        sys.exit(subprocess.run([*command, sys.executable, *sys.argv]).returncode)


def bring_loopback_up():
    siocsifflags, up_and_running = 0x8914, 0x41
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, siocsifflags, struct.pack('16sh14s', b'lo', up_and_running, b''))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--connections', type=int, default=240, help='as many may be connected at once')
    parser.add_argument('names', nargs='*')
    split = sys.argv.index('--')
    options = parser.parse_args(sys.argv[1:split])
    # So that what is to be done at the end is done when somebody stops this, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if 'dns' in options.names:
            enter_own_network()
        with Servers(options.connections) as servers:
            for name in options.names:
                getattr(servers, name)()
            command = [re.sub('@(WEFT_TEST_[A-Z_]+)@', lambda name: servers.environment[name[1]], word)
                       for word in sys.argv[split + 1:]]
            run = subprocess.Popen(command, env=servers.environment,
                                   preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
            servers.callback(run.kill)
            status = run.wait()
            return status if status >= 0 else 128 - status
    except NotInstalled as why:
        print(f'skipped: {why}')
        return SKIPPED


if __name__ == '__main__':
    sys.exit(main())
