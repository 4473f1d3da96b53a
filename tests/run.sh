#!/usr/bin/env bash
# Runs the whole test suite. The GPU tests need an adapter: where none is found, a software Vulkan
# driver is installed on Debian and Ubuntu, if this user may. With CI set, no adapter is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

# Mesa's device-select layer complains on machines without a desktop session.
[ -n "${XDG_RUNTIME_DIR:-}" ] || export NODEVICE_SELECT=1

has_vulkan_driver() {
    case "$(uname -s)" in
        Linux) cargo run --quiet -- devices --json | grep -q '"backend":"vulkan"[^}]*"usable":true' ;;
        *) cargo run --quiet -- devices --json | grep -q '"usable":true' ;;
    esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo -n "$@"; else return 1; fi
}

install_software_vulkan() {
    command -v apt-get >/dev/null || return 1
    say "no Vulkan adapter found: installing a software one (mesa-vulkan-drivers, libvulkan1)"
    as_root apt-get update -q || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends mesa-vulkan-drivers libvulkan1
}

say "building"
cargo build --tests

if ! has_vulkan_driver && ! { install_software_vulkan && has_vulkan_driver; }; then
    cargo run --quiet -- devices
    if cargo run --quiet -- devices --json | grep -q '"usable":true'; then
        say "NO VULKAN ADAPTER, and none could be installed: the GPU tests run on the adapters above"
    elif [ -n "${CI:-}" ]; then
        say "NO GPU ADAPTER: the GPU tests cannot run, which is a failure in CI"
        exit 1
    else
        say "NO GPU ADAPTER: THE GPU TESTS WILL BE SKIPPED. Install a Vulkan driver to run them \
(on Debian and Ubuntu: apt install mesa-vulkan-drivers libvulkan1)"
        export GPU_BACKPROP_SKIP_GPU_TESTS=1
    fi
fi

say "the adapters under test"
cargo run --quiet -- devices

say "testing"
cargo test --quiet "$@"

if [ -n "${GPU_BACKPROP_SKIP_GPU_TESTS:-}" ]; then
    say "passed, but THE GPU TESTS WERE SKIPPED: no adapter was found"
else
    say "passed"
fi
