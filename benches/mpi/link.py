#!/usr/bin/env python3
"""Runs an MPI program as two ranks with a link between them that has a latency and a rate. Linux, as root, Open MPI.

    benches/mpi/link.py --latency 1e-3 --gbytes 0.125 gpu-backprop train mnist --hidden 1024,1024 --json

Each rank has a network namespace of its own. Both are joined by this program: it reads a packet from one, waits, and writes it
to the other.
"""

import argparse
import collections
import ctypes
import fcntl
import os
import select
import struct
import subprocess
import sys
import tempfile
import time

NAMES = ["gb-link-1", "gb-link-2"]
ADDRESSES = ["10.99.0.1", "10.99.0.2"]
TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000
LARGEST_PACKET = 65535


def namespace(name, address):
    """A network namespace with one interface, whose packets are read and written through the returned file."""
    subprocess.run(["ip", "netns", "add", name], check=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/var/run/netns/{name}", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(there, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"wire", IFF_TUN | IFF_NO_PI))
    libc.setns(home, CLONE_NEWNET)
    within = ["ip", "-n", name]
    subprocess.run([*within, "link", "set", "wire", "mtu", str(LARGEST_PACKET), "txqueuelen", "10000", "up"], check=True)
    subprocess.run([*within, "address", "add", f"{address}/24", "dev", "wire"], check=True)
    subprocess.run([*within, "link", "set", "lo", "up"], check=True)
    return tun


def forward(tuns, latency, rate):
    """Forwards packets for ever. Each takes `size / rate` seconds of its direction, and arrives `latency` seconds later."""
    waiting = {tun: collections.deque() for tun in tuns}
    free = dict.fromkeys(tuns, 0.0)
    while True:
        dues = [queue[0][0] for queue in waiting.values() if queue]
        left = max(0.0, min(dues) - time.monotonic()) if dues else None
        for source in select.select(tuns, [], [], left)[0]:
            target = tuns[1 - tuns.index(source)]
            packet = os.read(source, LARGEST_PACKET)
            free[target] = max(free[target], time.monotonic()) + len(packet) / rate
            waiting[target].append((free[target] + latency, packet))
        for target, queue in waiting.items():
            while queue and queue[0][0] <= time.monotonic():
                try:
                    os.write(target, queue.popleft()[1])
                except OSError:
                    pass  # a full queue or an address of no interest loses the packet, as on any link


def rank_command(command):
    """`mpirun` for two ranks, one in each namespace, with host names of their own: Open MPI takes equal names for one machine."""
    agent = tempfile.NamedTemporaryFile("w", suffix=".sh", delete=False)
    agent.write(f'#!/bin/sh\nshift\nexec ip netns exec {NAMES[1]} unshare --uts sh -c "hostname {NAMES[1]}; $*"\n')
    agent.close()
    os.chmod(agent.name, 0o700)
    mca = ["btl", "tcp,self", "btl_tcp_if_include", "wire", "oob_tcp_if_include", "wire", "plm_rsh_agent", agent.name]
    settings = [word for key, value in zip(mca[::2], mca[1::2]) for word in ("--mca", key, value)]
    run = ["mpirun", "-n", "2", "--bind-to", "none", "--host", ",".join(ADDRESSES), *settings, *command]
    first = 'hostname "$0"; exec "$@"'
    return ["ip", "netns", "exec", NAMES[0], "unshare", "--uts", "sh", "-c", first, NAMES[0], *run]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds from one namespace to the other")
    parser.add_argument("--gbytes", type=float, default=100.0, help="10^9 bytes a second in each direction")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    for name in NAMES:
        subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)
    tuns = [namespace(name, address) for name, address in zip(NAMES, ADDRESSES)]
    forwarder = os.fork()
    if forwarder == 0:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        forward(tuns, given.latency, given.gbytes * 1e9)
    try:
        sys.exit(subprocess.run(rank_command(given.command)).returncode)
    finally:
        os.kill(forwarder, 9)
        for name in NAMES:
            subprocess.run(["ip", "netns", "delete", name])


main()
