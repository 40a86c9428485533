#!/bin/sh
# Builds keygate with what a trial run says of which paths are taken (profile-guided optimization): target/pgo/keygate.
#
#   benches/pgo.sh           build, train, build again: three to five minutes for each build
#
# Needs rustup's llvm-tools (installed here if rustup is there), curl and openssl. The trial sends what a gateway sees: keys that are
# good, unknown, malformed and without the scope, bodies both ways, HTTP/1.1, HTTP/2 and TLS. It counts what was answered wrong, and
# fails then.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
work=$root/target/pgo
profiles=$work/profiles
trial=$work/trial
rm -rf "$profiles" "$trial"
mkdir -p "$profiles" "$trial"

host=$(rustc -vV | sed -n 's/^host: //p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
if ! [ -x "$profdata" ]; then
    command -v rustup >/dev/null || { echo "llvm-profdata is missing: install rustup's component llvm-tools" >&2; exit 1; }
    rustup component add llvm-tools
fi

echo "1 of 3: a build that counts"
RUSTFLAGS="-Cprofile-generate=$profiles" cargo build --release --bin keygate --target-dir "$work/counting"
counting=$work/counting/release/keygate

echo "2 of 3: the trial"
port() { # one that is free now
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
port=$(port); admin=$(port); upstream=$(port)
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
    -keyout "$trial/key.pem" -out "$trial/cert.pem" 2>/dev/null
chmod 600 "$trial/key.pem"
configure() { # in a file of this name, with these lines in [server]
    cat > "$trial/$1" <<END
include = ["routes.toml"]
[server]
listen = ["127.0.0.1:$port"]
workers = 1
$2
[admin]
listen = "127.0.0.1:$admin"
[log]
access = "off"
[limits]
failed_auth = { rate = "1000000/s", burst = 1000000000 }
[upstreams.trial]
servers = ["http://127.0.0.1:$upstream"]
END
}
configure keygate.toml ""
configure tls.toml 'tls = { cert = "cert.pem", key = "key.pem" }'
{
    printf '[scopes]\nauthOnly = []\nfullAccess = ["authOnly"]\n[defaults]\nupstream = "trial"\n'
    i=0
    while [ $i -lt 100 ]; do
        printf '[[routes]]\npath = "/v3/things%s/{id}"\nscope = "fullAccess"\n' $i
        i=$((i + 1))
    done
    printf '[[routes]]\npath = "/v3/open/{id}"\naccess = "public"\n'
} > "$trial/routes.toml"
i=0
: > "$trial/keys"
while [ $i -lt 20 ]; do
    for scope in fullAccess authOnly; do
        key=$("$counting" keys create --name "trial $i" --scope $scope --config "$trial/keygate.toml" 2>/dev/null)
        echo "$key $scope" >> "$trial/keys"
    done
    i=$((i + 1))
done
"$counting" load upstream --listen "127.0.0.1:$upstream" --body 500 > /dev/null 2>&1 &
stub=$!
gateway=
trap 'kill $gateway $stub 2>/dev/null || true' EXIT
start() {
    "$counting" run --config "$trial/$1" 2> "$trial/log" &
    gateway=$!
    tries=0
    until curl -sf -o /dev/null "http://127.0.0.1:$admin/readyz"; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || { cat "$trial/log" >&2; exit 1; }
        sleep 0.1
    done
}
stop() { # the profile is written as it ends
    kill $gateway
    wait $gateway || { cat "$trial/log" >&2; exit 1; }
}
load() {
    "$counting" load "$@" --keys "$trial/keys" --mix fullAccess=80,authOnly=8,unknown=8,malformed=4 --quiet --requests 40000 \
        --route 'GET /v3/things7/{id} weight=6 scope=fullAccess' --route 'GET /v3/things93/{id}?page=2 weight=2 scope=fullAccess' \
        --route 'POST /v3/things50/{id} body=1KiB scope=fullAccess' --route 'PUT /v3/things50/{id} body=64KiB weight=0.1 scope=fullAccess' \
        --route 'GET /v3/open/{id} public weight=0.5' > "$trial/report" || { cat "$trial/report" >&2; exit 1; }
}
start keygate.toml
load "http://127.0.0.1:$port"
stop
start tls.toml
load "https://127.0.0.1:$port" --ca "$trial/cert.pem"
load "https://127.0.0.1:$port" --ca "$trial/cert.pem" --http2 --connections 8
stop
kill $stub
wait $stub || true
trap - EXIT

echo "3 of 3: the build"
"$profdata" merge -o "$work/merged.profdata" "$profiles"
RUSTFLAGS="-Cprofile-use=$work/merged.profdata" cargo build --release --bin keygate --target-dir "$work/guided"
cp "$work/guided/release/keygate" "$work/keygate"
echo "built: target/pgo/keygate"
