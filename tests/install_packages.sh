#!/bin/sh
# Installs what building needs from Debian, unless it is there.
#
#   tests/install_packages.sh [tests]    with "tests": what the tests need, too
set -eu
# Of alternatives one is enough; the first is installed when there is none.
needed="g++ meson ninja-build pkg-config python3 liburing-dev
    libboost1.81-dev|libboost1.74-dev libboost-context1.81-dev|libboost-context1.74-dev"
[ "${1:-}" = tests ] && needed="$needed catch2 clang-format binutils cmake wrk curl libssl-dev openssl
    valgrind tinyproxy-bin
    libcurl4-openssl-dev|libcurl4-gnutls-dev libhiredis-dev libmariadb-dev libpq-dev libsqlite3-dev
    mariadb-server postgresql redis-server
    libldap-2.5-0 libmemcached11 libmongoc-1.0-0 libmosquitto1 libnfs13 librabbitmq4 librdkafka1 libssh-4 libzmq5"

is_installed() {
    dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed'
}

missing=
for alternatives in $needed; do
    found=
    for package in $(echo "$alternatives" | tr '|' ' '); do
        is_installed "$package" && found=yes
    done
    [ -n "$found" ] || missing="$missing ${alternatives%%|*}"
done
[ -z "$missing" ] && exit 0

as_root=
[ "$(id -u)" -eq 0 ] || as_root=sudo
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086  # a list
$as_root apt-get install -y -qq --no-install-recommends $missing
