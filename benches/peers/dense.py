"""Dense inputs: two or more binaries of this program in turns, on random numbers none of which is 0.

dense.py PROGRAM PROGRAM... [--rounds 4] [--threads 1,2] [--only 784-128-10]
12,000 examples, the book's recipe; prints the steps a second of each program, medians over rounds of the medians over
epochs but the first, and the ratio to the first program, with its range. Needs NumPy.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile

import numpy as np

NETWORKS = [  # inputs, hidden layers, mini-batch
    (784, "30", 10), (784, "128", 64), (784, "256", 64), (784, "512", 128), (784, "192,64", 32), (784, "1024,1024", 256),
    (784, "30", 5000), (100, "64", 32), (100, "400,100", 300), (256, "64", 64), (1024, "64", 1000), (1024, "256", 128),
]

parser = argparse.ArgumentParser()
parser.add_argument("programs", nargs="+")
parser.add_argument("--rounds", type=int, default=4)
parser.add_argument("--threads", default="1,2")
parser.add_argument("--only", default="", help="networks, such as 784-128-10, separated by commas")
a = parser.parse_args()
only = a.only.split(",") if a.only else []


def train(program, folder, inputs, hidden, batch, threads):
    command = [program, "train", f"{folder}/x{inputs}.npy", "--labels", f"{folder}/y.npy", "--recipe", "book", "--hidden", hidden,
               "--batch", str(batch), "--test", "0.1", "--eta", "0.1", "--epochs", "3" if "1024" in hidden else "10",
               "--threads", str(threads), "--device", "cpu", "--monitor", "none", "--json"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr)
    run = json.loads(result.stdout)
    return statistics.median(epoch["samples_per_second"] for epoch in run["epochs"][1:]) / batch, run["weights_sha256"]


with tempfile.TemporaryDirectory() as folder:
    random = np.random.default_rng(0)
    np.save(f"{folder}/y.npy", random.integers(0, 10, 12000).astype(np.uint8))
    for inputs in sorted({network[0] for network in NETWORKS}):
        np.save(f"{folder}/x{inputs}.npy", random.random((12000, inputs), dtype=np.float32) + np.float32(0.01))
    for inputs, hidden, batch in NETWORKS:
        name = f"{inputs}-{hidden.replace(',', '-')}-10"
        if only and name not in only:
            continue
        for threads in map(int, a.threads.split(",")):
            runs = {program: [] for program in a.programs}
            for turn in range(a.rounds):
                for program in a.programs if turn % 2 == 0 else reversed(a.programs):
                    runs[program].append(train(program, folder, inputs, hidden, batch, threads))
            if len({weights for of_program in runs.values() for _, weights in of_program}) > 1:
                print(f"{name}: the programs ended with different weights")
            for program, of_program in runs.items():
                ratios = [run[0] / first[0] for run, first in zip(of_program, runs[a.programs[0]])]
                print(f"{name}, batch {batch}, {threads} threads, {program}: {statistics.median(run[0] for run in of_program):.0f} steps/s, "
                      f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)
