#!/usr/bin/env bash
# Runs every fuzz target for so many seconds (10 unless told otherwise), or only those that are named:
#   fuzz/run.sh [SECONDS [TARGET...]]
# It needs a C++ compiler for libFuzzer, but neither cargo-fuzz nor a nightly compiler. What is found is kept in
# the corpus below the target folder; an input that breaks a target is named and ends the script. With FUZZ_SEED
# set, a run from an empty corpus tries the same inputs each time.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-10}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(csv idx npy npz model checkpoint)

# The tables under test are files; memory is faster than a disk.
[ ! -w /dev/shm ] || export TMPDIR=/dev/shm

target_folder=${CARGO_TARGET_DIR:-$PWD/../target}
# The dependencies of the program, at its versions.
cp ../Cargo.lock Cargo.lock
printf '\n== building fuzz targets\n'
RUSTC_WRAPPER="$PWD/rustc.sh" cargo build --target-dir "$target_folder" --bins --quiet

for target in "${targets[@]}"; do
    printf '\n== fuzzing %s for %s s\n' "$target" "$seconds"
    corpus="$target_folder/fuzz/corpus/$target"
    log="$target_folder/fuzz/$target.log"
    mkdir -p "$corpus" "$target_folder/fuzz/artifacts"
    if ! "$target_folder/debug/fuzz_$target" -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=256 -timeout=60 \
        -seed="${FUZZ_SEED:-0}" \
        -artifact_prefix="$target_folder/fuzz/artifacts/$target-" "$corpus" "seeds/$target" >"$log" 2>&1; then
        tail -n 60 "$log"
        printf '\n== fuzz target %s failed: see %s\n' "$target" "$log"
        exit 1
    fi
    tail -n 1 "$log"
done
