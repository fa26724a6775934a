#!/usr/bin/env python3
"""Runs an example and compares what it prints with what it should print.

usage: expect.py PROGRAM EXPECTED_FILE
       expect.py --failure TEXT PROGRAM [ARGUMENT...]    ends with 1 and says TEXT on stderr
"""

import difflib
import pathlib
import subprocess
import sys


def fails(text, command) -> int:
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if run.returncode == 1 and text in run.stderr:
        return 0
    print(f'ended with {run.returncode}, and said: {run.stdout}{run.stderr}')
    return 1


def main() -> int:
    if sys.argv[1] == '--failure':
        return fails(sys.argv[2], sys.argv[3:])
    program, expected_file = sys.argv[1:]
    run = subprocess.run([program], stdout=subprocess.PIPE, text=True, timeout=60)
    expected = pathlib.Path(expected_file).read_text()
    if run.stdout != expected:
        sys.stdout.writelines(difflib.unified_diff(
            expected.splitlines(keepends=True), run.stdout.splitlines(keepends=True),
            'expected', 'printed'))
        return 1
    if run.returncode != 0:
        print(f'printed the right thing, but ended with {run.returncode}')
        return 1
    return 0


sys.exit(main())
