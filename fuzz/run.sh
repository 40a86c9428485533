#!/usr/bin/env bash
# Runs fuzz targets for a bounded time: fuzz/run.sh SECONDS [TARGET…] (without one: all; 0 seconds: the seeds alone). Each starts from its seeds and what
# earlier runs found (fuzz/corpus, kept outside git); a target stops at its first finding, and when all have run, that is a failure.
# A run of a minute or more is added to fuzz/hours.tsv.
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
    targets=(target headers key policy_toml commands connection)
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

failed=()
for target in "${targets[@]}"; do
    corpus=fuzz/corpus/$target artifacts=fuzz/artifacts/$target log=fuzz/artifacts/$target.log
    mkdir -p "$corpus" "$artifacts"
    bound=(-max_total_time="$seconds")
    if [[ $seconds -eq 0 ]]; then
        bound=(-runs=0)
    fi
    options=("${bound[@]}" -timeout=20 -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1)
    options+=(-artifact_prefix="$artifacts/" -dict="fuzz/dictionaries/$target.dict")
    status=0
    started=$SECONDS
    cargo fuzz run --sanitizer none "$target" "$corpus" "fuzz/seeds/$target" -- "${options[@]}" >"$log" 2>&1 </dev/null || status=$?
    ran=$((SECONDS - started))
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    if [[ -z "$executions" ]]; then
        executions=$(sed -n 's/^#\([0-9]*\).*/\1/p' "$log" | tail -1)
    fi
    coverage=$(grep -o 'cov: [0-9]* ft: [0-9]*' "$log" | tail -1 || true)
    findings=0
    if [[ $status -ne 0 ]]; then
        findings=1
        failed+=("$target")
        tail -40 "$log" >&2
    fi
    printf '%-12s %5d s %12s executions   %s   findings: %d\n' "$target" "$ran" "${executions:-0}" "$coverage" "$findings"
    if [[ $seconds -ge 60 && -n "$executions" ]]; then
        printf '%s\t%s\t%d\t%s\t%d\n' "$(date -u +%F)" "$target" "$ran" "$executions" "$findings" >>fuzz/hours.tsv
    fi
done

if [[ ${#failed[@]} -gt 0 ]]; then
    echo "findings in: ${failed[*]}; the inputs are in fuzz/artifacts" >&2
    exit 1
fi
