"""Predicts a step of the loop in one work group (shaders/loop/train_in_workgroup.wgsl) from what it counts there and from published
figures of GPUs: python loop_model.py [784,30,10 10]. docs/workgroup-loop.md explains it.

There is a prediction for each strategy of src/rewrite/training_loop/strategy.rs that fits the GPU. It is a range: the least is the
largest of what is limited by throughput, plus what is waited for; the most is their sum, with the longer of the latencies.
"""
import math, sys

MOST_BLOCKS_AT_ONCE = 4
# invocations
LANES = 512

# multiplications a clock of one core (SM, work group processor, Xe core), clock in GHz, bytes a clock between a core and the second
# cache, bytes a clock of loads in a core, latency of storage (first cache, second cache) and of work group memory and a barrier, in ns,
# and the work group memory that Vulkan or Metal offers, in KB
GPUS = {
    "H100 (PCIe)": dict(multiplications=128, clock=1.755, second=64, first=128, storage=(20, 150), local=17, barrier=20, work_group=48),
    "RTX 4060": dict(multiplications=128, clock=2.46, second=64, first=128, storage=(14, 110), local=12, barrier=15, work_group=48),
    "RX 7600": dict(multiplications=128, clock=2.66, second=64, first=128, storage=(40, 110), local=25, barrier=20, work_group=64),
    "M2": dict(multiplications=128, clock=1.40, second=32, first=64, storage=(60, 250), local=45, barrier=40, work_group=32),
    "Arc A770": dict(multiplications=128, clock=2.10, second=64, first=128, storage=(50, 200), local=35, barrier=40, work_group=64),
}

# first weights, other parameters, activations and errors
STRATEGIES = {
    "parameters in storage": ("storage", "storage", "local"),
    "parameters in work group memory": ("local", "local", "local"),
    "first weights in registers": ("registers", "local", "local"),
    "activations in storage": ("storage", "storage", "storage"),
}


def blocks_of(m):
    """Blocks of 4 examples, padded to groups, and the blocks of a group."""
    blocks = math.ceil(m / 4)
    at_once = math.ceil(blocks / math.ceil(blocks / MOST_BLOCKS_AT_ONCE))
    return math.ceil(blocks / at_once) * at_once, at_once


def rows_at_once(layers, m, lanes, strategy, work_group):
    """Rows of a block of sums that are added up at once, 4 or 1; None where the strategy does not fit."""
    n4 = [math.ceil(n / 4) for n in layers]
    first, parameters, activations = STRATEGIES[strategy]
    weights = [4 * n4[l] * n4[l - 1] for l in range(1, len(layers))]
    near = (weights[0] if first == "local" else 0) + (sum(weights[1:]) + sum(n4[1:]) if parameters == "local" else 0)
    rows = 2 * 4 * blocks_of(m)[0] * sum(n4[1:]) if activations == "local" else 0
    if first == "registers":
        inputs_16 = math.ceil(layers[0] / 16)
        units = math.ceil(inputs_16 / max(1, min(lanes // n4[1], inputs_16)))
        if n4[1] > lanes or 16 * 16 * units > 512:
            return None
    return next((part for part in (4, 1) if 16 * (near + rows + part * lanes) <= 1024 * work_group), None)


def counts(layers, m, lanes, strategy="parameters in storage", part_rows=4):
    """What all invocations of a step do: multiplications, vec4s of storage and of work group memory that are read or written, bytes that
    pass the second cache at least; and the chain that the slowest one waits for: storage, local memory, barriers."""
    n4 = [math.ceil(n / 4) for n in layers]
    blocks, at_once = blocks_of(m)
    groups = blocks // at_once
    first, parameters, activations = STRATEGIES[strategy]
    c = dict(multiplications=0, storage=0, local=0, registers=0, second=0, waits_storage=1, waits_local=0, waits_registers=0, barriers=2)

    # Forward, first layer: an invocation has 4 neurons, at_once blocks of examples, and a share of the blocks of 16 inputs.
    inputs_16 = math.ceil(layers[0] / 16)
    shares = max(1, min(lanes // n4[1], inputs_16))
    turns = math.ceil(n4[1] * shares / lanes)
    weights = n4[1] * 4 * n4[0]
    inputs = n4[1] * inputs_16 * 4 * blocks
    c["multiplications"] += 16 * n4[0] * n4[1] * 4 * blocks
    c[first] += groups * weights
    c["storage"] += inputs
    c["second"] += (16 * weights if first == "storage" else 0) + m * layers[0]
    c["waits_storage"] += 2 + groups * turns * math.ceil(inputs_16 / shares)

    def finish(times, tiles, shares):
        c["barriers"] += 2 * times * (4 // part_rows)
        c["waits_local"] += times * (1 + shares / 8)    # sums of shares, of which about eight are under way
        c["waits_" + parameters] += times               # biases
        c["local"] += times * 8 * min(lanes, tiles * shares)    # each part is written once and read once

    finish(turns * blocks, n4[1], shares)
    # Forward, later layers; the output layer reads order and labels.
    for l in range(2, len(layers)):
        terms, tiles = n4[l - 1], blocks * n4[l]
        shares = max(1, min(lanes // tiles, terms))
        turns = math.ceil(tiles * shares / lanes)
        c["multiplications"] += 64 * tiles * terms
        c[parameters] += 4 * tiles * terms
        c[activations] += 4 * tiles * terms
        c["waits_" + ("storage" if "storage" in (parameters, activations) else "local")] += turns * math.ceil(terms / shares)
        finish(turns, tiles, shares)
    c["waits_storage"] += 2
    # Errors of the hidden layers.
    for l in range(len(layers) - 2, 0, -1):
        terms, tiles = n4[l + 1], blocks * n4[l]
        turns = math.ceil(tiles / lanes)
        c["multiplications"] += 64 * tiles * terms
        c[parameters] += 4 * tiles * terms
        c[activations] += 4 * tiles * terms + 8 * tiles
        c["waits_" + parameters] += turns
        c["waits_" + activations] += 2 * turns
        c["barriers"] += 1
    # The first layer's update: inputs again, each weight read and written in each group of examples.
    shares = max(1, min(lanes // n4[1], inputs_16))
    turns = math.ceil(n4[1] * shares / lanes)
    c["multiplications"] += 16 * n4[0] * n4[1] * 4 * blocks
    c[first] += 2 * groups * weights
    c["storage"] += inputs
    c[activations] += 4 * blocks * n4[1] * shares
    c["second"] += 16 * weights * (1 + groups) if first == "storage" else 0
    c["waits_storage"] += turns * (2 + groups * math.ceil(inputs_16 / shares))
    # Later layers' updates, and biases.
    for l in range(2, len(layers)):
        tiles = n4[l] * n4[l - 1]
        c["multiplications"] += 64 * tiles * blocks
        c[parameters] += 8 * tiles
        c[activations] += 8 * tiles * blocks
        c["waits_" + parameters] += math.ceil(tiles / lanes)
        c["waits_" + activations] += 1
    c["waits_" + parameters] += 1
    c["waits_" + activations] += m / 8
    c[activations] += m * sum(n4[1:])
    if activations == "storage":
        c["second"] += 16 * 2 * 4 * blocks * sum(n4[1:])    # what is written passes
    return c


def predict(gpu, c):
    """Microseconds: arithmetic, loads within the core, the second cache, waiting (least, most), and the step (least, most)."""
    clocks = 1e3 * gpu["clock"]
    arithmetic = c["multiplications"] / gpu["multiplications"] / clocks
    loads = 16 * (c["storage"] + c["local"]) / gpu["first"] / clocks
    second = c["second"] / gpu["second"] / clocks
    local = c["waits_local"] * gpu["local"] + c["barriers"] * gpu["barrier"]
    waits = [1e-3 * (c["waits_storage"] * latency + local) for latency in gpu["storage"]]
    least = max(arithmetic, loads, second) + waits[0]
    return arithmetic, loads, second, waits, (least, arithmetic + max(loads, second) + waits[1])


def main():
    networks = [("784,30,10", 10), ("784,128,10", 64)] if len(sys.argv) < 3 else [(sys.argv[1], int(sys.argv[2]))]
    for network, m in networks:
        layers = [int(n) for n in network.split(",")]
        print(f"\n{network.replace(',', '-')}, batch {m}\n")
        for strategy in STRATEGIES:
            fitting = [part for gpu in GPUS.values() if (part := rows_at_once(layers, m, LANES, strategy, gpu["work_group"]))]
            if fitting:
                c = counts(layers, m, LANES, strategy, max(fitting))
                print(f"{strategy}: " + ", ".join(f"{key} {round(value):,}" for key, value in c.items() if "registers" not in key))
        print("\n| GPU | strategy | arithmetic | loads | L2 traffic | waits | a step, µs | steps/s |\n|---|---|--:|--:|--:|--:|--:|--:|")
        for name, gpu in GPUS.items():
            for strategy in STRATEGIES:
                part_rows = rows_at_once(layers, m, LANES, strategy, gpu["work_group"])
                if part_rows is None:
                    continue
                arithmetic, loads, second, waits, (least, most) = predict(gpu, counts(layers, m, LANES, strategy, part_rows))
                print(f"| {name} | {strategy} | {arithmetic:.1f} | {loads:.1f} | {second:.1f} | {waits[0]:.1f} to {waits[1]:.1f} "
                      f"| {least:.0f} to {most:.0f} | {1e6 / most:,.0f} to {1e6 / least:,.0f} |")


main()
