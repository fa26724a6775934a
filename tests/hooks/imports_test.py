#!/usr/bin/env python3
"""What real client libraries import of libc, held against the table of hooks.

Goal: no call by which an unmodified client waits is without a hook. Method: the dynamic
symbols that Debian's client libraries want (nm -D), the list of functions that can make
their caller wait (blocking_calls.py), and the rows of the table.

usage: imports_test.py TABLE.hpp [--list]

Exit code 77 (skipped), with a line that says why, without nm, or where a library is missing
that tests/install_packages.sh installs. With CI in the environment that is a failure: there
they are installed, and a test that looks at none of them would prove nothing.
"""

import collections
import os
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
# Of those, what tests/install_packages.sh installs, or what comes with it; of alternatives one.
REQUIRED = '''
libpq libhiredis libmariadb libcurl|libcurl-gnutls libssl libcrypto libldap libmemcached libmongoc
libmosquitto libnfs librabbitmq librdkafka libssh libzmq libstdc++
'''.split()
SKIPPED = 77


def rows_of(table):
    return set(re.findall(r'^\s*HOOK\(c_\w+, [^,]+, (\w+), \(', pathlib.Path(table).read_text(), re.M))


def base_of(name):
    """A library's name without a version at its end, unless that is how it is listed."""
    return name if name in LIBRARIES else re.sub(r'-?[0-9]+(\.[0-9]+)*$', '', name)


def installed():
    """{name: path} of those libraries that the dynamic linker would find."""
    listing = subprocess.run(['/sbin/ldconfig', '-p'], capture_output=True, text=True, check=True).stdout
    found = {}
    for name, path in re.findall(r'^\s*(lib\S+)\.so\.\S+ \(libc6.*\) => (\S+)$', listing, re.M):
        if base_of(name) in LIBRARIES:
            found.setdefault(name, path)
    return found


def missing_of(libraries):
    """Those that are required and are not there."""
    bases = {base_of(name) for name in libraries}
    return [choice for choice in REQUIRED if not bases & set(choice.split('|'))]


def not_tested(why):
    """The exit code for a machine that cannot run this."""
    print(f'skipped: {why}')
    return 1 if os.environ.get('CI') else SKIPPED


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
        return not_tested('there is no nm')
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
    missing = missing_of(libraries)
    return not_tested(f'no {" ".join(missing)}: sh tests/install_packages.sh tests') if missing else 0


sys.exit(main())
