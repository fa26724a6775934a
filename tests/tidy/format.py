#!/usr/bin/env python3
"""Fails when clang-format would change a file of ours.

    format.py CLANG_FORMAT ROOT
"""
import pathlib
import subprocess
import sys

FOLDERS = ["src", "include", "tests", "examples", "bench"]


def main(clang_format, root):
    files = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.[ch]pp"))]
    result = subprocess.run([clang_format, "--dry-run", "--Werror", *map(str, files)],
                            capture_output=True, text=True)
    lines = [line for line in result.stderr.splitlines() if "error:" in line]
    print("\n".join(lines) or f"format: {len(files)} files clean")
    return result.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], pathlib.Path(sys.argv[2])))
