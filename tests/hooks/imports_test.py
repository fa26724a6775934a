#!/usr/bin/env python3
"""What real client libraries import of libc, held against the table of hooks.

Goal: no call by which an unmodified client waits is without a hook. Method: the dynamic
symbols that Debian's client libraries want (nm -D), the list of functions that can make
their caller wait (blocking_calls.py), and the rows of the table.

usage: imports_test.py TABLE.hpp [--list]     exit code 77 (skipped) without nm or libraries
"""

import collections
import pathlib
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True

import blocking_calls

# By the beginning of the file's name; what the clients stand on is named, too.
LIBRARIES = '''
libpq libhiredis libmariadb libmysqlclient libmemcached libmongoc librdkafka librabbitmq
libcurl libcurl-gnutls libssh libssh2 libldap liblber libsmbclient libnfs libgssapi_krb5 libkrb5
libzmq libmosquitto libgrpc librados libceph-common libneon libcassandra libpaho-mqtt3cs libetpan
libnghttp2 libssl libcrypto libgnutls libsasl2 libunbound libcares libresolv libuv libevent libstdc++
'''.split()
FEWEST = 6
SKIPPED = 77


def rows_of(table):
    return set(re.findall(r'^\s*HOOK\(c_\w+, [^,]+, (\w+), \(', pathlib.Path(table).read_text(), re.M))


def installed():
    """{name: path} of those libraries that the dynamic linker would find."""
    listing = subprocess.run(['/sbin/ldconfig', '-p'], capture_output=True, text=True, check=True).stdout
    found = {}
    for name, path in re.findall(r'^\s*(lib\S+)\.so\.\S+ \(libc6.*\) => (\S+)$', listing, re.M):
        base = re.sub(r'-?[0-9]+(\.[0-9]+)*$', '', name) if name not in LIBRARIES else name
        if name in LIBRARIES or base in LIBRARIES:
            found.setdefault(name, path)
    return found


def imports_of(path):
    lines = subprocess.run(['nm', '-D', '--undefined-only', path], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].split('@')[0] for line in lines.splitlines() if line.strip()}


def known_mistakes(rows):
    """Where list and table contradict each other, whatever is installed."""
    hooked = frozenset().union(*blocking_calls.HOOKED.values())
    for reason, names in blocking_calls.WITHOUT.items():
        for name in sorted(names & rows):
            yield f'{name} has a hook, but is listed as needing none: {reason}'
        for name in sorted(names & hooked):
            yield f'{name} is listed twice'
    for name in sorted(blocking_calls.UNSEEN & rows):
        yield f'{name} has a hook by now, but is listed as having none'
    for name in sorted(hooked - rows):
        yield f'{name} can wait and has no row in the table'


def main():
    rows = rows_of(sys.argv[1])
    mistakes = list(known_mistakes(rows))
    if shutil.which('nm') is None:
        print('skipped: there is no nm')
        return SKIPPED
    libraries = installed()
    waiting = frozenset().union(*blocking_calls.HOOKED.values()) | blocking_calls.UNSEEN
    wanted = collections.defaultdict(list)
    for library, path in sorted(libraries.items()):
        for name in imports_of(path) & waiting:
            wanted[name].append(library)
    for name in sorted(set(wanted) - rows):
        mistakes.append(f'{name} has no hook, and is imported by {" ".join(wanted[name])}')
    if '--list' in sys.argv:
        for name, by in sorted(wanted.items(), key=lambda each: (-len(each[1]), each[0])):
            print(f'{len(by):4} {name}')
    print(f'{len(libraries)} libraries: {" ".join(sorted(libraries))}')
    print(f'{len(wanted)} functions that can wait are imported, {len(rows)} have a hook')
    for mistake in mistakes:
        print(mistake)
    if mistakes:
        return 1
    return 0 if len(libraries) >= FEWEST else SKIPPED


sys.exit(main())
