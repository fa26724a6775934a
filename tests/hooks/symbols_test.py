#!/usr/bin/env python3
"""Checks the table of hooks against the libraries that are built, and against libc.

    symbols_test.py TABLE LIBWEFT LIBWEFT_HOOKS

libweft defines none of its names, so linking it changes nothing; libweft-hooks defines
all of them; each function of libc that may block, and that programs import, is there; and so
is each other name of libc's for a function that has a hook, unless OTHER_NAMES says why not.
"""
import collections
import ctypes.util
import pathlib
import re
import subprocess
import sys

# What may block, and is an entry of libc's that programs have been seen to import, beside
# the pthread family, which has a test of its own.
BLOCKING = """
accept accept4 connect __connect recv __recv __recv_chk recvfrom __recvfrom_chk recvmsg recvmmsg
send __send sendto sendmsg sendmmsg __sendmmsg
read __read __read_chk readv write __write writev pread pread64 __pread64 __pread_chk __pread64_chk
pwrite pwrite64 __pwrite64 preadv preadv64 preadv2 preadv64v2 pwritev pwritev64 pwritev2 pwritev64v2
sendfile sendfile64 splice tee vmsplice copy_file_range eventfd_read eventfd_write
fsync fdatasync sync syncfs msync tcdrain tcsendbreak tcsetattr
open open64 __open __open64 __open_2 __open64_2 openat openat64 __openat_2 __openat64_2 creat creat64
close __close dup2 __dup2 dup3 flock lockf lockf64 fcntl fcntl64 __fcntl
poll __poll __poll_chk ppoll __ppoll_chk select __select pselect epoll_wait epoll_pwait epoll_pwait2
sleep usleep nanosleep __nanosleep clock_nanosleep thrd_sleep
getaddrinfo getnameinfo gethostbyname gethostbyname2 gethostbyaddr
gethostbyname_r gethostbyname2_r gethostbyaddr_r
res_query res_search res_send res_nquery res_nsearch res_nsend
__res_query __res_search __res_send __res_nquery __res_nsearch __res_nsend
res_querydomain res_nquerydomain __res_querydomain __res_nquerydomain gai_suspend
getpwnam getpwuid getgrnam getgrgid getpwnam_r getpwuid_r getgrnam_r getgrgid_r
getspnam getspnam_r getgrouplist initgroups
wait __wait waitpid __waitpid wait3 wait4 waitid system popen _IO_popen pclose
pause sigsuspend __sigsuspend sigpause __sigpause __xpg_sigpause sigwait sigwaitinfo sigtimedwait
mq_send mq_timedsend mq_receive mq_timedreceive msgsnd msgrcv semop semtimedop
aio_suspend aio_suspend64 lio_listio lio_listio64
""".split()

# Names of hooked functions that need no hook of their own: {name: why}.
OTHER_NAMES = {}
# What has that version alone is for libc's own libraries, which programs cannot be linked with.
PRIVATE = "GLIBC_PRIVATE"


def other_names(library, hooked):
    """(name, the hooked one) for each that libc exports at the same address."""
    lines = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True,
                           check=True).stdout.splitlines()
    at = collections.defaultdict(set)
    for address, kind, name in (line.split() for line in lines):
        if kind in "TWi" and not name.endswith(PRIVATE):
            at[address].add(name.split("@")[0])
    for names in at.values():
        for name in sorted(names - hooked) if names & hooked else ():
            yield name, min(names & hooked)


def symbols(library):
    lines = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True,
                           check=True).stdout.splitlines()
    return {line.split()[-1].split("@")[0] for line in lines if line}


def libc():
    maps = pathlib.Path("/proc/self/maps").read_text()
    found = re.search(r"/\S*/libc\.so\.6", maps)
    return found.group(0) if found else ctypes.util.find_library("c")


def main(table, weft, hooks):
    text = pathlib.Path(table).read_text()
    names = set(re.findall(r"HOOK\(c_\w+, [^,]+, (\w+), \(", text))
    assert len(names) > 100, "the table was not understood"
    errors = [f"libweft defines {name}" for name in sorted(names & symbols(weft))]
    errors += [f"libweft-hooks lacks {name}" for name in sorted(names - symbols(hooks))]
    there = symbols(libc())
    errors += [f"no hook for {name}" for name in BLOCKING if name in there and name not in names]
    others = dict(other_names(libc(), names))
    errors += [f"no hook for {name}, which is {others[name]}" for name in sorted(others.keys() - OTHER_NAMES)]
    errors += [f"{name} is no other name" for name in sorted(OTHER_NAMES.keys() - others.keys())]
    if errors:
        sys.exit("\n".join(errors))


if __name__ == "__main__":
    main(*sys.argv[1:])
