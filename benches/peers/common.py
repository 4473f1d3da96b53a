"""What the Python peers share: workloads, data, timing, and the JSON line of results.

Import this before NumPy or any framework: parse() limits their threads. Only the training loop is timed, with
shuffling and batching; start-up, compilation and evaluation are not. --epochs E times E epochs in a row of one model,
--steps N times --reps runs of N steps.
"""
import argparse, gzip, json, os, statistics, sys, time

WORKLOADS = {
    # init "book": weights and biases N(0, 1); "scaled": weights N(0, 1/fan-in), biases N(0, 1)
    "w1": dict(sizes=[784, 30, 10], batch=10, eta=3.0, init="book", data="mnist"),
    "w2": dict(sizes=[784, 128, 10], batch=64, eta=3.0, init="scaled", data="mnist"),
    "w3": dict(sizes=[784, 1024, 1024, 10], batch=256, eta=3.0, init="scaled", data="mnist"),
    "w4": dict(sizes=[2048, 4096, 4096, 10], batch=512, eta=0.1, init="scaled", data="random"),
    # The example of SimpleChains.jl, of the modern peers alone: tanh, squared error, all examples in one mini-batch.
    "w5": dict(sizes=[4, 32, 16, 4], batch=10000, eta=3e-4, init="scaled", data="numbers"),
}


def parse():
    p = argparse.ArgumentParser()
    p.add_argument("--workload", choices=WORKLOADS, default="w1")
    p.add_argument("--epochs", type=int, default=0)
    p.add_argument("--steps", type=int, default=0)
    p.add_argument("--reps", type=int, default=3)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--warmup", type=int, default=50, help="warm-up steps, of a separate model")
    a = p.parse_args()
    a.w = WORKLOADS[a.workload]
    a.sizes, a.batch, a.eta = a.w["sizes"], a.w["batch"], a.w["eta"]
    if not a.epochs and not a.steps:
        a.epochs = 1
    a.warmup = min(a.warmup, {"w3": 5, "w4": 2}.get(a.workload, a.warmup))
    limit_threads(a.threads)
    return a


def limit_threads(threads):
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-threads:]))


def flops_per_step(sizes, batch):
    return 6 * batch * sum(i * o for i, o in zip(sizes, sizes[1:])) - 2 * batch * sizes[0] * sizes[1]


def mnist_folder():
    return os.environ.get("MNIST") or sys.exit("MNIST: set it to the folder with the four .gz files of MNIST")


def load(a):
    """Inputs (n, n[1]) f32, labels (n), and the same of the test set; pixels / 255."""
    import numpy as np
    if a.w["data"] == "random":
        r = np.random.default_rng(7)
        n = a.batch * 10
        return r.random((n, a.sizes[0]), dtype=np.float32), r.integers(0, 10, n), None, None

    def idx(name):
        raw = gzip.open(f"{mnist_folder()}/{name}.gz").read()
        if raw[3] == 3:
            n = int.from_bytes(raw[4:8], "big")
            return np.frombuffer(raw, np.uint8, offset=16).reshape(n, 784).astype(np.float32) / np.float32(255)
        return np.frombuffer(raw, np.uint8, offset=8).astype(np.int64)

    x, y = idx("train-images-idx3-ubyte"), idx("train-labels-idx1-ubyte")
    return np.ascontiguousarray(x[:50000]), y[:50000], idx("t10k-images-idx3-ubyte"), idx("t10k-labels-idx1-ubyte")


def onehot(y):
    import numpy as np
    t = np.zeros((len(y), 10), np.float32)
    t[np.arange(len(y)), y] = 1
    return t


def init_params(a):
    """[(w (n[l-1], n[l]), b (n[l])), ...] f32."""
    import numpy as np
    r = np.random.default_rng(a.seed)
    ps = []
    for i, o in zip(a.sizes, a.sizes[1:]):
        w = r.standard_normal((i, o), dtype=np.float32)
        if a.w["init"] == "scaled":
            w /= np.float32(i ** 0.5)
        ps.append((w, r.standard_normal(o, dtype=np.float32)))
    return ps


def accuracy(ps, x, y):
    import numpy as np
    if x is None:
        return None
    for w, b in ps:
        x = 1 / (1 + np.exp(-(x @ np.asarray(w) + np.asarray(b))))
    return float((x.argmax(1) == y).mean())


def measure(a, n_train, run_epoch, run_steps):
    """run_epoch() trains for an epoch, run_steps(k) for k steps; both return when the work is done."""
    times, steps = [], 0
    for _ in range(a.epochs or a.reps):
        t = time.perf_counter()
        if a.epochs:
            run_epoch()
            steps = n_train // a.batch
        else:
            run_steps(a.steps)
            steps = a.steps
        times.append(time.perf_counter() - t)
    return times, steps


def report(peer, a, times, steps, acc, notes=""):
    median = statistics.median(times)
    print(json.dumps({
        "peer": peer, "workload": a.workload, "threads": a.threads,
        "samples_per_s": round(steps * a.batch / median, 1), "steps_per_s": round(steps / median, 2),
        "gflops": round(flops_per_step(a.sizes, a.batch) * steps / median / 1e9, 2),
        "test_acc": None if acc is None else round(acc, 4),
        "samples_per_s_min": round(steps * a.batch / max(times), 1),
        "samples_per_s_max": round(steps * a.batch / min(times), 1),
        "runs": len(times), "steps_per_run": steps, "epochs": a.epochs, "notes": notes}), flush=True)
