#!/usr/bin/env python3
"""Makes a variant of a header by replacing text: a mutant with a planted bug, or
an edition with extra checks.

    mutate.py in.hpp out.hpp old new [old new ...]

Every `old` must occur exactly once, or the script fails: a mutant that silently
became the original would prove nothing. White space in `old` stands for any
white space. The variant lives in a namespace named after `out`, so that it can
stand beside the original.
"""
import pathlib
import re
import sys


def replace_once(text: str, old: str, new: str) -> str:
    pattern = r"\s+".join(re.escape(word) for word in old.split())
    found = len(re.findall(pattern, text))
    if found != 1:
        sys.exit(f"mutate.py: found {found} times, not once: {old}")
    return re.sub(pattern, lambda _: new, text)


def main() -> None:
    source, target, *pairs = sys.argv[1:]
    if not pairs or len(pairs) % 2 != 0:
        sys.exit("usage: mutate.py in.hpp out.hpp old new [old new ...]")
    text = pathlib.Path(source).read_text()
    for old, new in zip(pairs[::2], pairs[1::2]):
        text = replace_once(text, old, new)
    name = f"variant::{pathlib.Path(target).stem}"
    text = replace_once(text, "namespace weft::detail {", f"namespace {name} {{")
    text = replace_once(text, "} // namespace weft::detail", f"}}  // namespace {name}")
    pathlib.Path(target).write_text(text)


if __name__ == "__main__":
    main()
