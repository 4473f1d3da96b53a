"""gpu-backprop through its command line, as one more peer; GPU_BACKPROP names the binary.

The times are those that `train --json` reports for the steps of each epoch, after one epoch as a warm-up. A number of
steps becomes an epoch of that many, by --limit. DEVICE is the value of --device, cpu by default.
"""
import json, os, subprocess, sys, tempfile
import common
a = common.parse()

binary = os.environ.get("GPU_BACKPROP", "gpu-backprop")
epochs = a.epochs or a.reps
with tempfile.TemporaryDirectory() as folder:
    if a.w["data"] == "random":
        import numpy as np
        x, y = f"{folder}/x.npy", f"{folder}/y.npy"
        inputs, labels, _, _ = common.load(a)
        np.save(x, inputs)
        np.save(y, labels.astype(np.uint8))
        data = [x, "--labels", y]
    else:
        data = [common.mnist_folder()]
    amount = ["--limit", str(a.batch * a.steps)] if a.steps else ["--validation", "0.16667"]
    command = [binary, "train", *data, *amount, "--layers", ",".join(map(str, a.sizes)), "--batch", str(a.batch),
               "--eta", str(a.eta), "--init", {"book": "large"}.get(a.w["init"], "scaled"), "--seed", str(a.seed),
               "--threads", str(a.threads), "--epochs", str(epochs + 1), "--json", "--quiet",
               "--device", os.environ.get("DEVICE", "cpu")]
    run = subprocess.run(command, capture_output=True, text=True)
if run.returncode:
    sys.exit(f"{' '.join(command)}: {run.stderr.strip()}")
found = json.loads(run.stdout)
first = found["epochs"][0]
steps = round(first["samples_per_second"] * first["seconds"] / a.batch)
times = [epoch["seconds"] for epoch in found["epochs"][1:]]
common.report("ours", a, times, steps, found.get("test_accuracy"), found["device"])
