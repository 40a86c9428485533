#!/usr/bin/env bash
# Slow heads, slow bodies and slow readers, 5,000 at once, by slowhttptest (Debian), against a gateway of one worker with deadlines of 4 s:
# benches/slowhttptest.sh [SECONDS]. Prints for each when the last connection was closed, and whether the service stayed available: what slowhttptest
# asks beside them once a second. Needs slowhttptest, nginx and a release build; traffic goes to loopback only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${1:-40}
export PATH=$PATH:/usr/sbin
for program in slowhttptest nginx; do
    command -v "$program" >/dev/null || { echo "$program is not installed (Debian: $program)" >&2; exit 1; }
done
cargo build --quiet --release
keygate=$PWD/${CARGO_TARGET_DIR:-target}/release/keygate
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$folder"' EXIT
ulimit -n 65536 2>/dev/null || true

mkdir "$folder/www"
head -c 8388608 /dev/zero >"$folder/www/big" # more than the kernel takes for a reader that reads nothing
echo small >"$folder/www/index.html"
cat >"$folder/nginx.conf" <<END
daemon off;
pid $folder/nginx.pid;
error_log $folder/nginx.log;
events { worker_connections 20000; }
http {
    access_log off;
    client_body_temp_path $folder/body;
    error_page 405 =200 /index.html;
    server { listen unix:$folder/upstream.sock; root $folder/www; }
}
END
chmod 755 "$folder"
nginx -c "$folder/nginx.conf" 2>>"$folder/nginx.log" &
until [ -S "$folder/upstream.sock" ]; do sleep 0.1; done
cat >"$folder/keygate.toml" <<END
[server]
listen  = ["127.0.0.1:0"]
workers = 1
[admin]
listen = ""
[log]
format = "json"
access = "off"
[limits]
connections = 20000
[timeouts]
head = "4s"
body = "4s"
idle = "4s"
[upstreams.www]
servers = ["unix:$folder/upstream.sock"]
[scopes]
fullAccess = []
[defaults]
upstream = "www"
[[routes]]
path   = ["/", "/{*rest}"]
access = "public"
END
"$keygate" run --config "$folder/keygate.toml" 2>"$folder/log" &
until address=$(sed -n 's/.*"message":"ready","gateway":"\([^"]*\)".*/\1/p' "$folder/log") && [ -n "$address" ]; do sleep 0.1; done

pid=$!

# What the gateway has open, once a second: a client that reads nothing does not see that it was let go.
slow() {
    local name=$1
    shift
    local before most=0 last=0 began=$SECONDS open
    before=$(ls "/proc/$pid/fd" | wc -l)
    slowhttptest -c 5000 -r 2500 -p 2 -l "$seconds" -g -o "$folder/$name" "$@" >"$folder/$name.out" 2>&1 &
    local test=$!
    while kill -0 "$test" 2>/dev/null; do
        open=$(($(ls "/proc/$pid/fd" | wc -l) - before))
        ((open > most)) && most=$open
        ((open > 20)) && last=$((SECONDS - began))
        sleep 1
    done
    awk -F, -v name="$name" -v most="$most" -v last="$last" 'NR > 1 { n++; up += $5 > 0 }
        END { printf "%-8s %5d descriptors more at most, the last of them after %d s; available in %d of %d looks\n", name, most, last, up, n }' "$folder/$name.csv"
}

slow heads -H -i 1 -t GET -u "http://$address/" -x 24
slow bodies -B -i 10 -s 8192 -t POST -u "http://$address/" -x 24
slow readers -X -w 512 -y 1024 -n 5 -z 32 -k 1 -u "http://$address/big"
