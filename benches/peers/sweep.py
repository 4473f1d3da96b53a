"""A grid of networks on the digits: `gpu-backprop sweep` beside scikit-learn's GridSearchCV of MLPClassifier.

sweep.py --binary PROGRAM [--jobs 2]
The same grid (widths, learning rates, L2), five splits of each, whole processes; prints seconds and the accuracy of the best
network on the same 359 test images, which neither saw.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("--binary", default=os.environ.get("GPU_BACKPROP", "gpu-backprop"))
parser.add_argument("--jobs", type=int, default=2)
parser.add_argument("--epochs", type=int, default=20, help="of ours; scikit-learn takes up to 100, fewer where it sees no gain")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
a = parser.parse_args()

HIDDEN, ETA, LAMBDA = [(30,), (64,), (64, 64)], [0.001, 0.003, 0.01], [1.0, 10.0]


def peer():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV, train_test_split
    from sklearn.neural_network import MLPClassifier
    x, y = load_digits(return_X_y=True)
    x, test_x, y, test_y = train_test_split(x / 16, y, test_size=359, stratify=y, random_state=0)
    # alpha is divided by the examples of a mini-batch, lambda of the book by those of the training split.
    grid = {"hidden_layer_sizes": HIDDEN, "learning_rate_init": ETA, "alpha": LAMBDA}
    search = GridSearchCV(MLPClassifier(batch_size=64, max_iter=100, random_state=0), grid, cv=5, n_jobs=a.jobs)
    search.fit(x, y)
    print(json.dumps({"accuracy": search.score(test_x, test_y), "best": str(search.best_params_)}))


def ours(folder):
    command = [a.binary, "sweep", "digits", "--recipe", "modern", "--hidden", *(",".join(map(str, n)) for n in HIDDEN),
               "--eta", ",".join(map(str, ETA)), "--lambda", ",".join(map(str, LAMBDA)), "--dropout", "0", "--batch", "64",
               "--epochs", str(a.epochs), "--validation", "0.2", "--seeds", "5", "--device", "cpu", "--threads", str(a.jobs),
               "--json", "-q", "-o", folder]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"accuracy": found["best"]["test_accuracy"], "best": str(found["ranking"][0]["choices"])}


if a.peer:
    sys.exit(peer())
times = {"scikit-learn": [], "gpu-backprop": []}
for _ in range(a.rounds):
    for name, times_of in times.items():
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            if name == "gpu-backprop":
                found = ours(folder)
            else:
                command = [sys.executable, "-W", "ignore", __file__, "--peer", "--jobs", str(a.jobs)]
                found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True,
                                                  env={**os.environ, "PYTHONWARNINGS": "ignore"}).stdout)
            times_of.append(time.perf_counter() - start)
        print(f"{name:13} {times_of[-1]:7.2f} s  test accuracy {100 * found['accuracy']:.2f}%  {found['best']}", flush=True)
median = {name: sorted(all)[len(all) // 2] for name, all in times.items()}
print(f"ratio of the medians: {median['scikit-learn'] / median['gpu-backprop']:.1f}")
