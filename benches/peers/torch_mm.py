"""The rate of torch.mm on the product 512 x 4096 x 4096: torch_mm.py [THREADS]. Median and best of 7 runs, GFLOP/s."""
import statistics, sys, time
import common
threads = int(sys.argv[1]) if len(sys.argv) > 1 else 2
common.limit_threads(threads)
import torch
torch.set_num_threads(threads)

rows, inner, cols = 512, 4096, 4096
a, b, out = torch.rand(rows, inner), torch.rand(inner, cols), torch.empty(rows, cols)
torch.mm(a, b, out=out)
times = []
for _ in range(7):
    start = time.perf_counter()
    torch.mm(a, b, out=out)
    times.append(time.perf_counter() - start)
rate = lambda seconds: round(2 * rows * inner * cols / seconds / 1e9, 1)
print({"threads": threads, "median": rate(statistics.median(times)), "best": rate(min(times))})
