#!/usr/bin/env python3
"""Fails when the library takes the address of a thread-local anywhere but in its accessors.

A fiber may go on on another thread after any suspension, and a compiler that
took such an address before it uses it after. So every address of that kind is
taken in a function that is never inlined, launders it, and does not suspend.
This reads the machine code, because that is where the mistake would be.

Usage: thread_locals.py LIBRARY. Exit code 77 (skipped) without objdump.
"""
import re
import shutil
import subprocess
import sys

# Functions that may, each with its reason.
ALLOWED = {
    "weft::detail::(anonymous namespace)::clock_of_thread()": "accessor",
    "weft::detail::(anonymous namespace)::count()": "accessor; who starts a thread",
    "weft::detail::(anonymous namespace)::map_of_thread()": "accessor; FiberLocals of a plain thread",
    "weft::detail::(anonymous namespace)::need_map_of_thread()": "plain threads only",
    "weft::detail::ThreadParty::of_this_thread()": "accessor; the party of a plain thread",
    "weft::detail::(anonymous namespace)::begin_own_party()": "plain threads only",
    "weft::detail::(anonymous namespace)::GivenBackAtEnd::~GivenBackAtEnd()": "the end of a plain thread",
    "weft::detail::Worker::current_slow()": "accessor",
    "weft::detail::Worker::attach()": "sets it, on the thread's own stack",
    "weft::detail::Worker::detach()": "clears it, on the thread's own stack",
    "weft::detail::Worker::run()": "attach() and detach(), inlined",
    "weft::detail::perform_on_thread(weft::detail::Operation&, weft::Deadline)": "plain threads only",
}
# std::call_once has thread-locals of its own, and its callers do not suspend inside.
CALL_ONCE = ("weft::detail::install_fault_handlers()", "std::once_flag::")

FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
ADDRESS = re.compile(r"call.*<__tls_get_addr|%fs:0x0,")
CLONE = re.compile(r" \[clone [^]]*\]")


def takers(listing):
    function = "?"
    for line in listing.splitlines():
        if match := FUNCTION.match(line):
            function = CLONE.sub("", match.group(1))
        elif ADDRESS.search(line):
            yield function


def is_allowed(function):
    return function in ALLOWED or function.startswith(CALL_ONCE) or function.startswith("__tls_get_addr")


def main(library):
    objdump = shutil.which("objdump")
    if objdump is None:
        return 77
    listing = subprocess.run([objdump, "-d", "-C", "--no-show-raw-insn", library],
                             check=True, capture_output=True, text=True).stdout
    found = set(takers(listing))
    if "weft::detail::ThreadParty::of_this_thread()" not in found:
        print("not even ThreadParty::of_this_thread() was seen: this test has lost its eyes")
        return 1
    wrong = sorted(function for function in found if not is_allowed(function))
    for function in wrong:
        print(f"takes the address of a thread-local: {function}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
