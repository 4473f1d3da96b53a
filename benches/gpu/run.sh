#!/usr/bin/env bash
# Checks and measures the GPU of this machine, in about 8 minutes: is it right, what are its ceilings, how fast do the four
# networks of benches/results train, and how fast in PyTorch, where it is installed. Needs what `pack.sh` puts into
# this folder, and neither Rust nor a network. A second call goes on where the first was cut off.
#
#   ./run.sh [--out FOLDER] [--device NUMBER] [--minutes M] [--shortest]
set -euo pipefail
kit=$(cd "$(dirname "$0")" && pwd)

if [ "$(uname -s)" = Linux ]; then
    # The loader of Vulkan, where the machine lacks it; the driver itself comes with the GPU.
    ldconfig=$(command -v ldconfig || echo /sbin/ldconfig)
    if ! "$ldconfig" -p 2>/dev/null | grep -q 'libvulkan\.so\.1' && [ -d "$kit/loader" ]; then
        export LD_LIBRARY_PATH="$kit/loader${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    fi
    # In containers NVIDIA's driver lies where the loader does not look.
    nvidia=/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json
    if [ -z "${VK_DRIVER_FILES:-}" ] && [ -e "$nvidia" ] && ! ls /usr/share/vulkan/icd.d/nvidia* /etc/vulkan/icd.d/nvidia* \
        >/dev/null 2>&1; then
        export VK_DRIVER_FILES=$nvidia
    fi
fi
[ -n "${XDG_RUNTIME_DIR:-}" ] || export NODEVICE_SELECT=1

exec "$kit/gpu-kit" --kit "$kit" "$@"
