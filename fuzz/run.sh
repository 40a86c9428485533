#!/usr/bin/env bash
# Runs fuzz targets for a bounded time: fuzz/run.sh SECONDS [TARGET…] (without one: all; 0 seconds: only what is in git). Each starts from its seeds,
# from what fuzz/keep.sh has kept of earlier runs, and from what else those found (fuzz/corpus, outside git); a target stops at its
# first finding, and when all have run, that is a failure. A run of a minute or more is added to fuzz/hours.tsv.
#
# Where there is no cargo-fuzz it is installed into target/tools; where that cannot be had, says so loudly and ends well, since
# nothing was found. FUZZ_MUST_RUN=1 makes that a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CARGO_FUZZ_VERSION=0.13.2
seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then
    targets=(target headers key policy_toml openapi commands connection)
fi

skip() {
    printf '\n*** NOT FUZZED: %s\n\n' "$1" >&2
    [[ "${FUZZ_MUST_RUN:-}" != 1 ]]
    exit
}

export PATH="$PWD/target/tools/bin:$PATH"
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "cargo-fuzz $CARGO_FUZZ_VERSION is installed into target/tools"
    CARGO_TARGET_DIR=target/tools/build timeout 1200 \
        cargo install cargo-fuzz --version "$CARGO_FUZZ_VERSION" --locked --root target/tools </dev/null ||
        skip "cargo-fuzz is not installed and cannot be"
    rm -rf target/tools/build
fi
command -v c++ >/dev/null || skip "there is no C++ compiler, which libFuzzer needs"

# Without a sanitizer the stable compiler will do; this crate and its library have no unsafe code for one to watch.
built=$SECONDS
cargo fuzz build --sanitizer none </dev/null
echo "built in $((SECONDS - built)) s"
# Run as they are: `cargo fuzz run` would look for changes of the sources first, and again after a finding.
binaries=fuzz/target/$(rustc -vV | sed -n 's/^host: //p')/release

# Runs a target once more, for so many seconds (0: the seeds alone); sets `status`, and adds to `executions` and `ran`.
run() {
    local bound=(-max_total_time="$2")
    if [[ $seconds -eq 0 ]]; then
        bound=(-runs=0)
    fi
    local options=("${bound[@]}" "-timeout=$UNIT_SECONDS" -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1)
    options+=(-artifact_prefix="$artifacts/" -dict="fuzz/dictionaries/$1.dict")
    local started=$SECONDS units
    local inputs=("$corpus" "fuzz/seeds/$1")
    if [[ -d fuzz/kept/$1 ]]; then
        inputs+=("fuzz/kept/$1")
    fi
    status=0
    "$binaries/$1" "${inputs[@]}" "${options[@]}" >"$log" 2>&1 </dev/null || status=$?
    units=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    if [[ -z "$units" ]]; then
        units=$(sed -n 's/^#\([0-9]*\).*/\1/p' "$log" | tail -1)
    fi
    executions=$((executions + ${units:-0}))
    ran=$((ran + SECONDS - started))
}

# Whether the run ended with an input that took too long, and does not when it is tried again: the machine stood still, or
# somebody stopped the process. Such an input is removed, and the time is not counted.
stood_still() {
    local input lost
    input=$(sed -n 's/^.*Test unit written to \(.*timeout-[0-9a-f]*\)$/\1/p' "$log" | tail -1)
    lost=$(sed -n 's/^ALARM: working on the last Unit for \([0-9]*\) seconds$/\1/p' "$log" | tail -1)
    [[ -n "$input" && -n "$lost" ]] || return 1
    "$binaries/$1" "-timeout=$UNIT_SECONDS" "$input" >/dev/null 2>&1 </dev/null || return 1
    rm "$input"
    ran=$((ran - lost))
    echo "$1: it stood still for $lost s"
}

UNIT_SECONDS=20
failed=()
for target in "${targets[@]}"; do
    corpus=fuzz/corpus/$target artifacts=fuzz/artifacts/$target log=fuzz/artifacts/$target.log
    mkdir -p "$corpus" "$artifacts"
    executions=0 ran=0
    run "$target" "$seconds"
    while [[ $status -ne 0 ]] && stood_still "$target"; do
        status=0
        if [[ $ran -lt $seconds ]]; then
            run "$target" $((seconds - ran))
        fi
    done
    coverage=$(grep -o 'cov: [0-9]* ft: [0-9]*' "$log" | tail -1 || true)
    findings=0
    if [[ $status -ne 0 ]]; then
        findings=1
        failed+=("$target")
        tail -40 "$log" >&2
    fi
    printf '%-12s %5d s %12s executions   %s   findings: %d\n' "$target" "$ran" "$executions" "$coverage" "$findings"
    if [[ $seconds -ge 60 && $executions -gt 0 ]]; then
        printf '%s\t%s\t%d\t%s\t%d\n' "$(date -u +%F)" "$target" "$ran" "$executions" "$findings" >>fuzz/hours.tsv
    fi
done

if [[ ${#failed[@]} -gt 0 ]]; then
    echo "findings in: ${failed[*]}; the inputs are in fuzz/artifacts" >&2
    exit 1
fi
