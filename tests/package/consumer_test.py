#!/usr/bin/env python3
"""Builds ten-line consumers of weft and of its hooks from outside, in each of the ways promised.

    consumer_test.py SOURCE_DIR BUILD_DIR

As a Meson dependency and from CMake through pkg-config, both against an
installation in a temporary prefix, and as a Meson subproject.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

PROGRAMS = ("consumer", "hooked")
CONSUMER_MESON = """project('consumer', 'cpp', default_options: ['cpp_std=c++20'])
executable('consumer', 'consumer.cpp', dependencies: dependency('weft'{fallback}))
executable('hooked', 'hooked.cpp', dependencies: dependency('weft-hooks'{hooks_fallback}))
"""
CONSUMER_CMAKE = """cmake_minimum_required(VERSION 3.20)
project(consumer CXX)
find_package(PkgConfig REQUIRED)
pkg_check_modules(WEFT REQUIRED IMPORTED_TARGET weft)
add_executable(consumer consumer.cpp)
target_link_libraries(consumer PRIVATE PkgConfig::WEFT)
pkg_check_modules(HOOKS REQUIRED IMPORTED_TARGET weft-hooks)
add_executable(hooked hooked.cpp)
target_link_libraries(hooked PRIVATE PkgConfig::HOOKS)
"""


def run(*command, **options):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return result.stdout


def make_consumer(folder, source, name, text):
    folder.mkdir()
    for program in PROGRAMS:
        shutil.copy(source / f"tests/package/{program}.cpp", folder)
    (folder / name).write_text(text)


def check(folder, environment):
    for program in PROGRAMS:
        printed = run(folder / program, env=environment)
        assert printed == "42\n", f"{folder}/{program} printed {printed}"


def with_meson(work, source, environment, fallback=""):
    folder = work / ("subproject" if fallback else "meson")
    make_consumer(folder, source, "meson.build", CONSUMER_MESON.format(
        fallback=fallback, hooks_fallback=fallback.replace("weft_dep", "weft_hooks_dep")))
    if fallback:
        (folder / "subprojects").mkdir()
        (folder / "subprojects/weft").symlink_to(source)
    options = (["--buildtype=plain", "-Dweft:tests=false", "-Dweft:examples=false", "-Dweft:bench=false"] if fallback
               else [])
    run("meson", "setup", folder / "build", folder, *options, env=environment)
    run("ninja", "-C", folder / "build", env=environment)
    check(folder / "build", environment)


def with_cmake(work, source, environment):
    folder = work / "cmake"
    make_consumer(folder, source, "CMakeLists.txt", CONSUMER_CMAKE)
    run("cmake", "-S", folder, "-B", folder / "build", env=environment)
    run("cmake", "--build", folder / "build", env=environment)
    check(folder / "build", environment)


def main(source, build):
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        prefix = work / "prefix"
        run("meson", "install", "-C", build, "--no-rebuild", "--destdir", prefix)
        package = next(prefix.rglob("weft.pc"))
        root = package.parents[2 if package.parents[1].name == "lib" else 3]
        # Relocated: the prefix in the file is the one it was configured for.
        for each in package.parent.glob("weft*.pc"):
            text = each.read_text().splitlines()
            each.write_text("\n".join([f"prefix={root}"] + text[1:]) + "\n")
        environment = dict(os.environ, PKG_CONFIG_PATH=str(package.parent),
                           LD_LIBRARY_PATH=str(package.parents[1]))
        with_meson(work, source, environment)
        if shutil.which("cmake"):
            with_cmake(work, source, environment)
        with_meson(work, source, dict(os.environ), fallback=", fallback: ['weft', 'weft_dep']")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
