"""PyTorch on the CPU: a hand-written step of 8 to 12 operations, without autograd."""
import common
a = common.parse()
import torch
torch.set_num_threads(a.threads)
X, Y, TX, TY = common.load(a)
X, T = torch.from_numpy(X), torch.from_numpy(common.onehot(Y))
torch.manual_seed(a.seed)


def make():
    return [torch.from_numpy(t) for wb in common.init_params(a) for t in wb]


def step(ps, x, t):
    acts = [x]
    for i in range(0, len(ps), 2):
        acts.append(torch.addmm(ps[i + 1], acts[-1], ps[i]).sigmoid_())
    d = torch.ops.aten.sigmoid_backward(acts[-1] - t, acts[-1])
    k = -a.eta / len(x)
    for i in range(len(ps) // 2 - 1, -1, -1):
        w, b = ps[2 * i], ps[2 * i + 1]
        back = torch.ops.aten.sigmoid_backward(d @ w.T, acts[i]) if i else None
        w.addmm_(acts[i].T, d, alpha=k)
        b.add_(d.sum(0), alpha=k)
        d = back


def train(ps, n=len(X) // a.batch):
    done = 0
    while done < n:
        p = torch.randperm(len(X))[:min(n - done, len(X) // a.batch) * a.batch]
        for x, t in zip(X[p].split(a.batch), T[p].split(a.batch)):
            step(ps, x, t)
            done += 1


with torch.inference_mode():
    train(make(), a.warmup)
    ps = make()
    times, steps = common.measure(a, len(X), lambda: train(ps), lambda k: train(ps, k))
    acc = common.accuracy([(ps[i], ps[i + 1]) for i in range(0, len(ps), 2)], TX, TY)
common.report("torch", a, times, steps, acc, f"torch {torch.__version__}")
