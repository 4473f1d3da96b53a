#!/usr/bin/env bash
# A wrapper of rustc for run.sh: only the crate under test is instrumented for libFuzzer, so that its
# dependencies are those of the tests. The flags are those of cargo-fuzz, and work with a stable rustc.
set -euo pipefail
case " $* " in
    *" --crate-name gpu_backprop "*)
        exec "$@" --cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
            -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
            -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
        ;;
esac
exec "$@"
