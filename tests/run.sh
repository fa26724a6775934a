#!/bin/sh
# Builds weft and runs its tests, on a machine that has nothing of what that needs.
#
#   tests/run.sh [BUILD_DIR [MESON_SETUP_OPTION...]]
#
# Installs missing Debian packages first (with sudo unless root). Ends with a
# line "N passed, N failed"; the exit code is 0 only when none failed.
# WEFT_TEST_ARGS is passed on to "meson test".
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
[ $# -gt 0 ] && shift

sh tests/install_packages.sh tests

# It takes half as long as GNU ld, and there are two hundred programs to link.
if command -v ld.gold >/dev/null; then export CXX_LD="${CXX_LD-gold}"; fi

[ -f "$build/build.ninja" ] || meson setup "$build" "$@"
meson compile -C "$build"

log=$build/meson-logs/testlog.txt
rm -f "$log"
status=0
# shellcheck disable=SC2086  # several arguments are wanted
meson test -C "$build" --no-rebuild --print-errorlogs ${WEFT_TEST_ARGS:-} || status=$?

count() { sed -n "s/^$1: *\([0-9]*\) *\$/\1/p" "$log" | tail -n 1; }
sum() { total=0; for n in "$@"; do total=$((total + ${n:-0})); done; echo "$total"; }
passed=$(sum "$(count Ok)" "$(count 'Expected Fail')")
failed=$(sum "$(count Fail)" "$(count Timeout)" "$(count 'Unexpected Pass')")
[ "$status" -ne 0 ] && [ "$failed" -eq 0 ] && failed=1
echo "$passed passed, $failed failed"
exit "$status"
