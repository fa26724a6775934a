#!/bin/sh
# Builds weft and its HTTP server, runs it, and shows a request; the server then
# goes on until Ctrl-C.
#
#   examples/serve.sh [SERVER_OPTION...]      as --port 8080, see --help
#
# Installs missing Debian packages first (with sudo unless root).
set -eu
cd "$(dirname "$0")/.."
sh tests/install_packages.sh
command -v curl >/dev/null || sh tests/install_packages.sh tests

[ -f build/build.ninja ] || meson setup build
ninja -C build examples/http_server

[ $# -gt 0 ] || set -- --port 8080
build/examples/http_server "$@" &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server"' INT TERM EXIT
port=$(echo " $*" | sed -n 's/.* --port[ =]\([0-9]*\).*/\1/p')
port=${port:-8080}
tries=0
until curl -s -o /dev/null "http://127.0.0.1:$port/"; do
    tries=$((tries + 1))
    [ "$tries" -lt 50 ] && kill -0 "$server" 2>/dev/null || exit 1
    sleep 0.1
done
echo "\$ curl -i http://127.0.0.1:$port/json"
curl -si "http://127.0.0.1:$port/json"
echo
echo "The server runs until Ctrl-C."
wait "$server"
