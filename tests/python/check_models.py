"""Holds models against other programs: ONNX Runtime runs the exported network, and NumPy does the
arithmetic of the book with the tensors of the safetensors file. Both must give what `predict` gave.

Usage: check_models.py FOLDER..., each with model.safetensors, model.onnx, the examples (data.npy or
data.csv) and predicted.csv, the output of `predict` for them, with `--probabilities` where they have classes.
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
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "leaky-relu": lambda z: np.maximum(z, 0.01 * z),
    "softmax": lambda z: np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True)),
    "linear": lambda z: z,
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


def check_onnx(folder, examples, names, labels):
    """Returns the outputs: those of the network, or numbers in the units of the data."""
    path = str(folder / "model.onnx")
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["targets" if labels is None else "classes"]) == names
    feed = {value.name: examples.feed(value) for value in session.get_inputs()}
    if examples.array is not None:
        assert list(feed) == ["inputs"], f"inputs {list(feed)}"
    *found_labels, found = session.run(None, feed)
    # One example alone gives the same.
    *_, alone = session.run(None, {name: values[:1] for name, values in feed.items()})
    assert np.allclose(alone, found[:1], rtol=0, atol=TOLERANCE * np.abs(found[0]).max())
    if labels is None:
        assert not found_labels and found.dtype == np.float64
        return found

    assert found.dtype == np.float32
    # Where two outputs are as good as equal, either may be the larger.
    second, first = np.sort(found, axis=1)[:, -2:].T
    clear = first - second > 2 * TOLERANCE
    assert clear.mean() > 0.9, f"only {clear.sum()} of {len(clear)} examples have a class"
    [given] = found_labels
    if folder.name.endswith("-index"):
        assert given.dtype == np.int64 and not texts_in(path), "there is text"
        given = np.array(names, dtype=object)[given]
    assert (given == labels)[clear].all(), "other labels"
    return found


def texts_in(path):
    """Inputs, constants and outputs that are text."""
    graph = onnx.load(path).graph
    values = {value.name: value.type.tensor_type.elem_type for value in [*graph.input, *graph.output]}
    constants = {constant.name: constant.data_type for constant in graph.initializer}
    return [name for name, entries in (values | constants).items() if entries == onnx.TensorProto.STRING]


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


def check_safetensors(folder, examples, names):
    """Returns the outputs, and the unit of each."""
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    model = json.loads(metadata["gpu-backprop"])
    n = dict(enumerate(model["layers"], start=1))
    shapes = {f"w{l}": (n[l], n[l - 1]) for l in range(2, len(n) + 1)} | {f"b{l}": (n[l],) for l in range(2, len(n) + 1)}
    assert {name: tensor.shape for name, tensor in tensors.items()} == shapes
    assert all(tensor.dtype == np.float32 for tensor in tensors.values())
    [(task, targets)] = model["outputs"].items()
    named = targets if task == "classes" else [target["name"] for target in targets]
    assert named == names[: len(targets)]
    in_onnx = {entry.key: entry.value for entry in onnx.load(folder / "model.onnx").metadata_props}
    assert json.loads(in_onnx["gpu-backprop"]) == model, "the two files describe different networks"

    a = activations(model["preprocessing"], examples).astype(np.float64)
    for l in range(2, len(n) + 1):
        activation = model["activation" if l < len(n) else "output_activation"]
        a = ACTIVATIONS[activation](a @ tensors[f"w{l}"].T + tensors[f"b{l}"])
    if task == "classes":
        return a, 1
    offset, scale = (np.array([target[of] for target in targets]) for of in ("offset", "scale"))
    return offset + scale * a, np.abs(scale)


def check(folder):
    header, *rows = read_table(folder / "predicted.csv")
    labels = None
    if header[0] == "label":
        labels = np.array([row[0] for row in rows], dtype=object)
        header, rows = header[1:], [row[1:] for row in rows]
    outputs = np.array(rows, dtype=np.float64)
    assert len(rows) >= 1000, f"only {len(rows)} examples"
    examples = Examples(folder)
    by_numpy, unit = check_safetensors(folder, examples, header)
    by_onnx = check_onnx(folder, examples, header, labels)
    assert by_numpy.shape == by_onnx.shape == outputs.shape, f"{by_numpy.shape} {by_onnx.shape} {outputs.shape}"
    # Numbers are compared in the units that they are learned in.
    differences = {
        "onnxruntime": (np.abs(by_onnx - outputs) / unit).max(),
        "numpy": (np.abs(by_numpy - outputs) / unit).max(),
    }
    shown = ", ".join(f"{program} {difference:.1e}" for program, difference in differences.items())
    print(f"{folder.name}: {len(rows)} examples, {len(header)} outputs; largest differences: {shown}")
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
