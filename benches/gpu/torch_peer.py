"""PyTorch's side of the comparison: reads a JSON object per line, answers each with one. On the GPU where CUDA is there.

The same step as ours: sigmoid neurons, quadratic cost, plain SGD, f32 without TF32, gradients written by hand (no
autograd, whose cost would only be added), mini-batches picked by a permutation on the device.
- eager:    one call for each operation
- compiled: torch.compile of the step
- graph:    a CUDA graph of STEPS steps, the least overhead that PyTorch can have
"""
import json, sys, time

import torch

torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
torch.set_float32_matmul_precision("highest")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
STEPS = 50
ETA = 0.1


def synchronize():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


class Training:
    """A network with its data on the device."""

    def __init__(self, widths, batch):
        self.batch = batch
        n = max(STEPS, 4096 // batch) * batch
        r = torch.Generator().manual_seed(0)
        x = torch.rand(n, widths[0], generator=r)
        # Four in five inputs are 0, as in ours.
        self.x = (x * (torch.rand(n, widths[0], generator=r) < 0.2)).to(DEVICE)
        self.t = torch.nn.functional.one_hot(torch.arange(n) % widths[-1], widths[-1]).float().to(DEVICE)
        self.order = torch.randperm(n, generator=r).to(DEVICE)
        self.layers = [((torch.randn(i, o, generator=r) / i ** 0.5).to(DEVICE), torch.randn(o, generator=r).to(DEVICE))
                       for i, o in zip(widths, widths[1:])]
        self.next = 0

    def step(self, examples):
        a = [self.x[examples]]
        for w, b in self.layers:
            a.append(torch.addmm(b, a[-1], w).sigmoid())
        delta = torch.ops.aten.sigmoid_backward(a[-1] - self.t[examples], a[-1])
        k = -ETA / self.batch
        for l in range(len(self.layers) - 1, -1, -1):
            w, b = self.layers[l]
            back = torch.ops.aten.sigmoid_backward(delta @ w.T, a[l]) if l else None
            w.addmm_(a[l].T, delta, alpha=k)
            b.add_(delta.sum(0), alpha=k)
            delta = back

    def examples(self, i):
        return self.order[i * self.batch:(i + 1) * self.batch]

    def prepare(self, mode):
        self.calls = 1
        if mode == "eager":
            self.call = self.step_by(self.step)
        elif mode == "compiled":
            self.call = self.step_by(torch.compile(self.step))
        elif mode == "graph":
            if DEVICE != "cuda":
                raise RuntimeError("CUDA graphs need CUDA")
            stream = torch.cuda.Stream()
            with torch.cuda.stream(stream):
                for i in range(3):
                    self.step(self.examples(i))
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                for i in range(STEPS):
                    self.step(self.examples(i))
            self.call, self.calls = graph.replay, STEPS
        else:
            raise ValueError(mode)
        for _ in range(3):
            self.call()
        synchronize()

    def step_by(self, step):
        def call():
            step(self.examples(self.next))
            self.next = (self.next + 1) % STEPS
        return call

    def run(self, seconds):
        """Steps per second, in about so many seconds; the last run, the longest, counts."""
        count, begin = 1, time.perf_counter()
        while True:
            start = time.perf_counter()
            for _ in range(count):
                self.call()
            synchronize()
            took = time.perf_counter() - start
            if time.perf_counter() - begin >= seconds / 2:
                return count * self.calls / took
            count *= 2


def product(n, seconds):
    a, b, out = (torch.rand(n, n, device=DEVICE) for _ in range(3))
    torch.mm(a, b, out=out)
    synchronize()
    count, begin = 1, time.perf_counter()
    while True:
        start = time.perf_counter()
        for _ in range(count):
            torch.mm(a, b, out=out)
        synchronize()
        took = time.perf_counter() - start
        if time.perf_counter() - begin >= seconds / 2:
            return 2 * n ** 3 * count / took / 1e9
        count *= 2


def answer(question, state):
    if "about" in question:
        device = torch.cuda.get_device_name() if DEVICE == "cuda" else f"cpu, {torch.get_num_threads()} threads"
        return {"torch": torch.__version__, "device": device}
    if "prepare" in question:
        start = time.perf_counter()
        state["training"] = Training(question["widths"], question["batch"])
        state["training"].prepare(question["prepare"])
        return {"seconds": time.perf_counter() - start}
    if "run" in question:
        return {"steps_per_second": state["training"].run(question["seconds"])}
    return {"gflops": product(question["product"], question["seconds"])}


state = {}
with torch.inference_mode():
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line), state)
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)
