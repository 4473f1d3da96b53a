#!/usr/bin/env bash
# Builds the kit of run.sh for machines of this kind and puts it into a folder: `benches/gpu/pack.sh [FOLDER]`. With MNIST
# set to the folder of its four files, they are copied too. PROFILE=dev takes the programs as the tests build them.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-target/gpu-kit}
mkdir -p "$folder"

# The path of the executable of a target, of those that a build reports as JSON.
executable() {
    sed -n 's/.*"name":"'"$1"'".*"executable":"\([^"]*\)".*/\1/p' <<<"$built" | tail -1
}
built=$(cargo test --profile "${PROFILE:-release}" --quiet --no-run --message-format json --test ladder --bench gpu)
cp "$(executable gpu)" "$folder/gpu-kit"
cp "$(executable ladder)" "$folder/ladder"
cp "$(executable gpu-backprop)" "$folder/gpu-backprop"
strip "$folder/gpu-kit" "$folder/ladder" "$folder/gpu-backprop" 2>/dev/null || echo "strip is missing: the kit stays large"
cp benches/gpu/run.sh benches/gpu/torch_peer.py "$folder/"

loader=$( (ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null || true) | sed -n 's/.*libvulkan\.so\.1 .*=> //p' | head -1)
if [ -n "$loader" ]; then
    mkdir -p "$folder/loader"
    cp -L "$loader" "$folder/loader/libvulkan.so.1"
fi
if [ -n "${MNIST:-}" ]; then
    mkdir -p "$folder/mnist"
    cp "$MNIST"/*.gz "$folder/mnist/"
fi
du -sh "$folder"
