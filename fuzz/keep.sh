#!/usr/bin/env bash
# Keeps in git what runs have found: fuzz/keep.sh [TARGET…] (without one: all). fuzz/corpus/TARGET, which is outside git, is reduced to the
# least that reaches as far (as `cargo fuzz cmin` does); of that, the few inputs that reach edges which no seed and none of the
# others does replace fuzz/kept/TARGET. Says how many they are, how large, and how far they reach. Needs what fuzz/run.sh has built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Larger inputs reach further, but not by what they cost a repository.
MOST_BYTES=1024

host=$(rustc -vV | sed -n 's/^host: //p')
targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then
    targets=(target headers key policy_toml openapi commands connection)
fi
for target in "${targets[@]}"; do
    binary=fuzz/target/$host/release/$target
    seeds=fuzz/seeds/$target corpus=fuzz/corpus/$target kept=fuzz/kept/$target
    mkdir -p "$corpus" "$kept"

    least=$(mktemp -d)
    "$binary" -merge=1 "$least" "$corpus" "$kept" >/dev/null 2>&1 </dev/null
    rm -rf "$corpus"
    mv "$least" "$corpus"

    # The seeds are there first, so that nothing is chosen for what they reach.
    chosen=$(mktemp -d)
    for seed in "$seeds"/*; do
        cp "$seed" "$chosen/seed-${seed##*/}"
    done
    "$binary" -set_cover_merge=1 -use_counters=0 -max_len="$MOST_BYTES" "$chosen" "$corpus" >/dev/null 2>&1 </dev/null
    rm -rf "$chosen"/seed-* "$kept"
    mv "$chosen" "$kept"
    chmod 755 "$kept"

    reach=$("$binary" -runs=0 "$seeds" "$kept" 2>&1 </dev/null | grep -o 'INITED cov: [0-9]*')
    bytes=$(find "$kept" -type f -printf '%s\n' | awk '{ s += $1 } END { print s + 0 }')
    printf '%-12s %5d inputs %8d bytes, with the seeds %s edges\n' "$target" "$(find "$kept" -type f | wc -l)" "$bytes" "${reach##* }"
done
