#!/usr/bin/env python3
"""Fails when a code block of the README is not part of an example, which compiles.

    readme.py ROOT
"""
import pathlib
import re
import sys


def main(root):
    examples = [path.read_text() for path in (root / "examples").rglob("*.[ch]pp")]
    blocks = re.findall(r"```cpp\n(.*?)```", (root / "README.md").read_text(), re.S)
    wrong = [block for block in blocks if not any(block in text for text in examples)]
    for block in wrong:
        print("not in any example:\n" + block)
    print(f"readme: {len(blocks)} blocks, {len(wrong)} of them in no example")
    return bool(wrong) or not blocks


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
