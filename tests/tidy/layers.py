#!/usr/bin/env python3
"""Fails when a source file includes upwards, or a private header leaks out.

The dependency direction is data, here, and nowhere else in prose that could
disagree with it. A room may include itself and the rooms to its left; diag
reads any, and nobody includes it.
"""
import pathlib
import re
import sys

ROOMS = ["base", "context", "sched", "park", "sync", "task", "io", "os", "runtime", "hooks", "diag"]
OWNERS = {"liburing": "src/io/", "boost/": "src/context/"}
PUBLIC_STD = {"atomic", "cerrno", "chrono", "compare", "cstddef", "cstdint", "exception", "memory", "new",
              "optional", "span", "string", "string_view", "system_error", "type_traits", "utility"}
PUBLIC_EXCEPTIONS = {("include/weft/stop_token.hpp", "stop_token")}  # all that header is for
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)', re.M)
# Where a test would be written twice otherwise: a room that looks one up, with its reason.
EXCEPTIONS = {
    # A handle spawns into a Runtime, whose public header is all it needs.
}


def public_errors(rel, kind, name):
    if (rel, name) in PUBLIC_EXCEPTIONS:
        return None
    if kind == '"':
        return f'{rel}: public header includes private "{name}"'
    if not name.startswith("weft/") and name not in PUBLIC_STD:
        return f"{rel}: <{name}> is not for public headers"
    return None


def private_errors(rel, room, kind, name):
    for prefix, owner in OWNERS.items():
        if kind == "<" and name.startswith(prefix) and not rel.startswith(owner):
            return f"{rel}: <{name}> belongs to {owner} alone"
    if kind == "<":
        return None
    other = name.split("/")[0]
    if other not in ROOMS:
        return f'{rel}: "{name}": include as room/file.hpp'
    if ROOMS.index(other) > ROOMS.index(room) or (other == "diag" and room != "diag"):
        return f"{rel}: {room} must not know {other} ({name})"
    return None


def main(root):
    errors = []
    for path in sorted([*root.glob("src/**/*.[ch]pp"), *root.glob("include/**/*.hpp")]):
        rel = path.relative_to(root).as_posix()
        text = path.read_text()
        public = rel.startswith("include/")
        room = None if public else rel.split("/")[1]
        for kind, name in INCLUDE.findall(text):
            error = public_errors(rel, kind, name) if public else private_errors(rel, room, kind, name)
            if error:
                errors.append(error)
        if not public and f"Layer: {room}." not in text.split("#include", 1)[0]:
            errors.append(f'{rel}: head comment lacks "Layer: {room}."')
    print("\n".join(errors) or "layers: clean")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
