"""A plain PyTorch script: MNIST from its files to the accuracy of a dense network, ReLU, cross-entropy, Adam, a cosine schedule.

Prints a line of JSON: the accuracy on the test images, or with --validation on the last 10,000 training images, which are then
not learned.
"""
import argparse, gzip, json, os, time

p = argparse.ArgumentParser()
for flag, kind, default in [("hidden", int, 128), ("batch", int, 64), ("eta", float, 0.001), ("epochs", int, 5), ("seed", int, 0), ("threads", int, 2)]:
    p.add_argument("--" + flag, type=kind, default=default)
p.add_argument("--validation", action="store_true")
p.add_argument("--search", help="a JSON list of settings, each trained in turn with --validation: one import for all")
a = p.parse_args()

import torch
from torch import nn

torch.set_num_threads(a.threads)


def idx(name, header):
    with gzip.open(os.path.join(os.environ["MNIST"], name)) as f:
        return torch.frombuffer(bytearray(f.read()), dtype=torch.uint8, offset=header)


def images(name):
    return idx(name + "-images-idx3-ubyte.gz", 16).view(-1, 784).float() / 255


def labels(name):
    return idx(name + "-labels-idx1-ubyte.gz", 8).long()


x, y = images("train"), labels("train")
if a.validation:
    (x, tx), (y, ty) = x.split(50_000), y.split(50_000)
else:
    tx, ty = images("t10k"), labels("t10k")


def train(hidden, batch, eta, epochs, seed):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=eta)
    steps = epochs * -(-len(x) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    start = time.time()
    for _ in range(epochs):
        for picked in torch.randperm(len(x)).split(batch):
            loss = nn.functional.cross_entropy(net(x[picked]), y[picked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    seconds = time.time() - start
    with torch.no_grad():
        return (net(tx).argmax(1) == ty).float().mean().item(), seconds


for s in json.loads(a.search) if a.search else [vars(a)]:
    s = {k: s[k] for k in ("hidden", "batch", "eta", "epochs", "seed")}
    accuracy, seconds = train(**s)
    print(json.dumps({**s, "accuracy": accuracy, "seconds": seconds}), flush=True)
