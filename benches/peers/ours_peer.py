"""gpu-backprop through its command line, as one more peer; GPU_BACKPROP names the binary.

The times are those that `train --json` reports for the steps of each epoch, after one epoch as a warm-up. A number of
steps becomes an epoch of that many, by --limit. DEVICE is the value of --device, cpu by default. With MODERN=1: ReLU, softmax,
cross-entropy and Adam; w5 is always tanh and squared error with Adam, and its steps are epochs.
"""
import json, os, subprocess, sys, tempfile
import common
a = common.parse()

binary = os.environ.get("GPU_BACKPROP", "gpu-backprop")
epochs = a.epochs or a.reps
with tempfile.TemporaryDirectory() as folder:
    if a.w["data"] == "numbers":
        import numpy as np
        random, files = np.random.default_rng(7), (f"{folder}/x.npy", f"{folder}/y.npy")
        for file in files:
            np.save(file, random.standard_normal((a.batch, a.sizes[0]), dtype=np.float32))
        data = [files[0], "--labels", files[1], "--task", "regression", "--scale", "none"]
    elif a.w["data"] == "random":
        import numpy as np
        x, y = f"{folder}/x.npy", f"{folder}/y.npy"
        inputs, labels, _, _ = common.load(a)
        np.save(x, inputs)
        np.save(y, labels.astype(np.uint8))
        data = [x, "--labels", y]
    else:
        data = [common.mnist_folder()]
    amount = ["--limit", str(a.batch * a.steps)] if a.steps else ["--validation", "0.16667"]
    rows = ["--eta", str(a.eta), "--init", {"book": "large"}.get(a.w["init"], "scaled"), "--recipe", "book"]
    if a.w["data"] == "numbers":
        epochs, amount = a.steps, ["--validation", "0"]
        rows = ["--activation", "tanh", "--optimizer", "adam", "--eta", str(a.eta), "--recipe", "book"]
    elif os.environ.get("MODERN"):
        rows = ["--recipe", "modern", "--schedule", "constant", "--eta", "0.001", "--lambda", "0", "--dropout", "0",
                "--keep", "last", "--refit", "no"]
    command = [binary, "train", *data, *amount, "--layers", ",".join(map(str, a.sizes)), "--batch", str(a.batch),
               *rows, "--seed", str(a.seed),
               "--threads", str(a.threads), "--epochs", str(epochs + 1), "--json", "--quiet", "--monitor", "none",
               "--device", os.environ.get("DEVICE", "cpu")]
    run = subprocess.run(command, capture_output=True, text=True)
if run.returncode:
    sys.exit(f"{' '.join(command)}: {run.stderr.strip()}")
found = json.loads(run.stdout)
first = found["epochs"][0]
steps = round(first["samples_per_second"] * first["seconds"] / a.batch)
times = [epoch["seconds"] for epoch in found["epochs"][1:]]
common.report("ours", a, times, steps, found.get("test_accuracy"), found["device"])
