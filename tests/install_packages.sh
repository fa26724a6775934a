#!/bin/sh
# Installs what building needs from Debian, unless it is there.
#
#   tests/install_packages.sh [tests]    with "tests": what the tests need, too
set -eu
needed="g++ meson ninja-build pkg-config python3 liburing-dev libboost-dev libboost-context-dev"
[ "${1:-}" = tests ] && needed="$needed catch2 clang-format binutils cmake wrk curl"

missing=
for package in $needed; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' ||
        missing="$missing $package"
done
[ -z "$missing" ] && exit 0

as_root=
[ "$(id -u)" -eq 0 ] || as_root=sudo
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086  # a list
$as_root apt-get install -y -qq --no-install-recommends $missing
