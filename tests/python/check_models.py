"""Holds models against other programs: ONNX Runtime runs the exported network, and NumPy does the
arithmetic of the book with the tensors of the safetensors file. Both must give what `predict` gave.

Usage: check_models.py FOLDER..., each with model.safetensors, model.onnx, the examples (data.npy or
data.csv) and predicted.csv, the output of `predict --probabilities` for them.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors import safe_open

TOLERANCE = 1e-5

# By their names in model files, in 64 bits.
ACTIVATIONS = {
    "sigmoid": lambda z: np.exp(-np.logaddexp(0, -z)),
}


class Examples:
    """The raw examples: one array, or the columns of a table by their names."""

    def __init__(self, folder):
        self.array = self.table = None
        if (folder / "data.npy").exists():
            self.array = np.load(folder / "data.npy")
            self.array = self.array.reshape(len(self.array), -1)
        else:
            header, *rows = read_table(folder / "data.csv")
            self.table = {name: [row[i] for row in rows] for i, name in enumerate(header)}

    def numbers(self, name):
        return np.array([float(field) if field else np.nan for field in self.table[name]])

    def texts(self, name):
        return np.array([field.strip() for field in self.table[name]], dtype=object)

    def feed(self, value):
        """What an input of the exported network is given."""
        if self.array is not None:
            types = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32, "tensor(double)": np.float64}
            return self.array.astype(types[value.type])
        column = self.texts(value.name) if value.type == "tensor(string)" else self.numbers(value.name)
        return column.reshape(-1, 1)


def read_table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def check_onnx(folder, examples, names, labels, outputs):
    """Returns the largest difference of an output."""
    path = str(folder / "model.onnx")
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == names
    feed = {value.name: examples.feed(value) for value in session.get_inputs()}
    if examples.array is not None:
        assert list(feed) == ["inputs"], f"inputs {list(feed)}"
    found_labels, found = session.run(None, feed)
    assert found.dtype == np.float32 and found.shape == outputs.shape, f"{found.dtype} {found.shape}"

    # Where two outputs are as good as equal, either may be the larger.
    second, first = np.sort(outputs, axis=1)[:, -2:].T
    clear = first - second > 2 * TOLERANCE
    assert clear.mean() > 0.9, f"only {clear.sum()} of {len(clear)} examples have a class"
    assert (found_labels == labels)[clear].all(), "other labels"
    # One example alone, too.
    [alone] = session.run(None, {name: values[:1] for name, values in feed.items()})[0]
    assert alone == found_labels[0]
    return np.abs(found - outputs).max()


def activations(preprocessing, examples):
    """The activations of layer 1, from raw examples and what a model says of them."""
    [(kind, how)] = preprocessing.items()
    if kind == "bytes":
        return examples.array * how["input_scale"]
    if kind == "floats":
        return examples.array
    parts = []
    for i, column in enumerate(how["columns"]):
        [(kind, of)] = column["values"].items()
        name = column["name"] or str(column["position"] + 1)
        if kind == "category":
            parts += [examples.texts(name) == category for category in of["categories"]]
        else:
            x = examples.numbers(name) if examples.table is not None else examples.array[:, i].astype(np.float64)
            missing = np.nan if of["missing"] is None else of["missing"]
            parts.append((np.where(np.isnan(x), missing, x) - of["offset"]) * of["scale"])
    return np.stack(parts, axis=1).astype(np.float32)


def check_safetensors(folder, examples, names, outputs):
    """Returns the largest difference of an output."""
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    model = json.loads(metadata["gpu-backprop"])
    n = dict(enumerate(model["layers"], start=1))
    shapes = {f"w{l}": (n[l], n[l - 1]) for l in range(2, len(n) + 1)} | {f"b{l}": (n[l],) for l in range(2, len(n) + 1)}
    assert {name: tensor.shape for name, tensor in tensors.items()} == shapes
    assert all(tensor.dtype == np.float32 for tensor in tensors.values())
    assert model["classes"] == names[: len(model["classes"])]
    in_onnx = {entry.key: entry.value for entry in onnx.load(folder / "model.onnx").metadata_props}
    assert json.loads(in_onnx["gpu-backprop"]) == model, "the two files describe different networks"

    a = activations(model["preprocessing"], examples).astype(np.float64)
    for l in range(2, len(n) + 1):
        a = ACTIVATIONS[model["activation"]](a @ tensors[f"w{l}"].T + tensors[f"b{l}"])
    return np.abs(a - outputs).max()


def check(folder):
    (_, *names), *rows = read_table(folder / "predicted.csv")
    labels = np.array([row[0] for row in rows], dtype=object)
    outputs = np.array([row[1:] for row in rows], dtype=np.float64)
    assert len(rows) >= 1000, f"only {len(rows)} examples"
    examples = Examples(folder)
    differences = {
        "onnxruntime": check_onnx(folder, examples, names, labels, outputs),
        "numpy": check_safetensors(folder, examples, names, outputs),
    }
    shown = ", ".join(f"{program} {difference:.1e}" for program, difference in differences.items())
    print(f"{folder.name}: {len(rows)} examples, {len(names)} outputs; largest differences: {shown}")
    # NaN is no small difference.
    assert all(difference <= TOLERANCE for difference in differences.values()), f"more than {TOLERANCE} apart"


if __name__ == "__main__":
    folders = [Path(folder) for folder in sys.argv[1:]]
    assert folders, "no folders to check"
    for folder in folders:
        try:
            check(folder)
        except Exception as error:
            error.add_note(f"in {folder.name}")
            raise
