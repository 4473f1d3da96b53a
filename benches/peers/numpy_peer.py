"""NumPy: the book's SGD with mini-batches as matrices."""
import common
a = common.parse()
import numpy as np
X, Y, TX, TY = common.load(a)
T = common.onehot(Y)
rng = np.random.default_rng(a.seed)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Network:
    def __init__(self):
        self.ps = [[w, b] for w, b in common.init_params(a)]

    def step(self, x, t):
        acts = [x]
        for w, b in self.ps:
            acts.append(sigmoid(acts[-1] @ w + b))
        d = (acts[-1] - t) * acts[-1] * (1 - acts[-1])
        k = np.float32(a.eta / len(x))
        for i in range(len(self.ps) - 1, -1, -1):
            w, b = self.ps[i]
            gw = acts[i].T @ d
            gb = d.sum(0)
            if i:
                d = (d @ w.T) * (acts[i] * (1 - acts[i]))
            w -= k * gw
            b -= k * gb

    def train(self, steps=len(X) // a.batch):
        perm = rng.permutation(len(X))
        for i in range(steps):
            at = i * a.batch % (len(X) - a.batch + 1)
            j = perm[at:at + a.batch]
            self.step(X[j], T[j])


with np.errstate(over="ignore"):
    Network().train(a.warmup)
    network = Network()
    times, steps = common.measure(a, len(X), network.train, network.train)
    acc = common.accuracy(network.ps, TX, TY)
common.report("numpy", a, times, steps, acc, f"numpy {np.__version__}")
