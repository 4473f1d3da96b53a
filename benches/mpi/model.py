#!/usr/bin/env python3
"""The cost model of docs/clusters.md: the time of a step of data-parallel training on N ranks, from bytes, latency and computing.

    benches/mpi/model.py --layers 2048,4096,4096,10 --batch 512 --gflops 66 --gbytes 1.25 --latency 30e-6 --ranks 1,2,4,8
"""

import argparse

EXCHANGED_TOGETHER = 1 << 20
SMALL = 1 << 15


def step(layers, batch, ranks, flops, wire, latency, latencies, memory):
    """Seconds of a step: in all, of computing alone, and of the exchange that nothing hides."""
    examples = -(-batch // ranks)
    product = [2 * before * neurons * examples / flops for before, neurons in zip(layers, layers[1:])]
    weights = [before * neurons for before, neurons in zip(layers, layers[1:])]
    small = sum(count for count in weights if count <= SMALL) + sum(layers[1:])

    def exchange(count, message):
        if ranks == 1 or count == 0:
            return 0.0
        # A sum over all ranks: each sends and receives (N - 1)/N of the numbers twice, and adds what it received.
        moved = 2 * (ranks - 1) / ranks * 4 * count / wire
        added = (ranks - 1) / ranks * 3 * 4 * count / memory
        # Two exchanges for each piece; each of them a message from every other rank.
        messages = 2 * -(-count // EXCHANGED_TOGETHER) * (ranks - 1)
        return moved + added + messages * message

    computed = sum(product)
    exchanged = 0.0
    for layer in reversed(range(len(product))):
        computed += product[layer]
        # The exchange of a layer begins when its gradient is there and that of the layer after it has ended.
        if layer == 0:
            exchanged = max(exchanged, computed) + exchange(small, latency)
        if weights[layer] > SMALL:
            exchanged = max(exchanged, computed) + exchange(weights[layer], latencies * latency)
        if layer > 0:
            computed += product[layer]
    descent = 4 * 4 * (sum(weights) + sum(layers[1:])) / memory
    ends = max(computed, exchanged)
    return ends + descent, computed, ends - computed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", default="2048,4096,4096,10")
    parser.add_argument("--batch", type=int, default=512, help="examples of a mini-batch, over all ranks")
    parser.add_argument("--for-each", action="store_true", help="the mini-batch is that of each rank")
    parser.add_argument("--gflops", type=float, default=66.0, help="10^9 operations a second of a rank, in products")
    parser.add_argument("--gbytes", type=float, default=1.25, help="10^9 bytes a second of a rank's link, in each direction")
    parser.add_argument("--latency", type=float, default=30e-6, help="seconds of a message")
    parser.add_argument("--latencies", type=float, default=1.0, help="latencies of a large message: 5 by Open MPI's defaults over TCP")
    parser.add_argument("--memory", type=float, default=10.0, help="10^9 bytes a second of a rank's memory")
    parser.add_argument("--ranks", default="1,2,4,8,64,512")
    given = parser.parse_args()
    layers = [int(width) for width in given.layers.split(",")]
    rates = (given.gflops * 1e9, given.gbytes * 1e9, given.latency, given.latencies, given.memory * 1e9)
    ranks = [int(count) for count in given.ranks.split(",")]
    one = step(layers, given.batch, 1, *rates)[0]
    print("| ranks | step, ms | computing | exchange not hidden | times one rank | of N |\n|--:|--:|--:|--:|--:|--:|")
    for count in ranks:
        batch = given.batch * count if given.for_each else given.batch
        whole, computing, open_part = step(layers, batch, count, *rates)
        faster = one / whole * (count if given.for_each else 1)
        figures = [f"{1e3 * value:,.1f}" for value in (whole, computing, open_part)]
        print(f"| {count} | {' | '.join(figures)} | {faster:.2f} | {100 * faster / count:.0f}% |")


main()
