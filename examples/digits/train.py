"""Trains the digits model: scikit-learn's copy of the UCI digits in, `digits.onnx` and its measured accuracy out.

Nothing here is needed to serve the model. Run it to see where the committed files come from:

    python -m venv .demo/venv && .demo/venv/bin/pip install --require-hashes -r requirements/generate.txt
    .demo/venv/bin/python examples/digits/train.py --out .demo/again
    cmp .demo/again/digits.onnx examples/digits/digits.onnx

Every random choice has a fixed seed and the arithmetic runs on one thread, so that two runs on one kind of processor
write the same bytes. Another processor may sum in another order and end at other last digits of the weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path
from typing import Any

# Before numpy loads: with several threads, sums may come out differently from run to run.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

Array = np.ndarray[Any, Any]

SEED = 20
HELD_OUT = 360
LARGEST_PIXEL = 16
"""The data set counts the set pixels of each 4x4 block, so a pixel is a whole number from 0 to 16."""


def split() -> tuple[Array, Array, Array, Array]:
    """Training images, held-out images, training labels, held-out labels; every class in the same share."""
    digits = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        digits.data, digits.target, test_size=HELD_OUT, stratify=digits.target, random_state=SEED
    )
    return train_x, test_x, train_y, test_y


def train(images: Array, labels: Array) -> MLPClassifier:
    """A perceptron with two hidden layers, on pixels from 0 to 1."""
    classifier = MLPClassifier((96, 48), alpha=1e-2, learning_rate_init=2e-3, max_iter=400, random_state=SEED)
    return classifier.fit(images / LARGEST_PIXEL, labels)


def to_onnx(classifier: MLPClassifier) -> bytes:
    """The classifier as an ONNX file: one Gemm a layer, Relu between them, scores (logits) out."""
    nodes, weights = [], []
    last = len(classifier.coefs_) - 1
    value = "image"
    for layer, (kernel, bias) in enumerate(zip(classifier.coefs_, classifier.intercepts_, strict=True)):
        for name, array in ((f"kernel_{layer}", kernel), (f"bias_{layer}", bias)):
            weights.append(numpy_helper.from_array(array.astype("<f4"), name))
        score = "logits" if layer == last else f"sum_{layer}"
        nodes.append(helper.make_node("Gemm", [value, f"kernel_{layer}", f"bias_{layer}"], [score]))
        if layer != last:
            value = f"hidden_{layer}"
            nodes.append(helper.make_node("Relu", [score], [value]))
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        weights,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="nimify examples/digits"
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def correct(model: bytes, images: Array, labels: Array) -> int:
    """How many images the ONNX file itself, not the classifier it came from, gets right."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": (images / LARGEST_PIXEL).astype(np.float32)})
    return int((np.asarray(logits).argmax(axis=1) == labels).sum())


def main() -> None:
    """Train, convert, measure, write."""
    parser = argparse.ArgumentParser(description="Train the digits model and measure it.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    train_x, test_x, train_y, test_y = split()
    model = to_onnx(train(train_x, train_y))
    right = correct(model, test_x, test_y)
    accuracy = {
        "model": "digits.onnx",
        "sha256": hashlib.sha256(model).hexdigest(),
        "training_rows": len(train_y),
        "held_out_rows": len(test_y),
        "correct": right,
        "accuracy": round(right / len(test_y), 4),
    }
    (out / "digits.onnx").write_bytes(model)
    np.savez_compressed(out / "held_out.npz", image=test_x.astype(np.uint8), label=test_y.astype(np.uint8))
    (out / "labels.txt").write_text("".join(f"{digit}\n" for digit in load_digits().target_names))
    (out / "accuracy.json").write_text(json.dumps(accuracy, indent=2) + "\n")
    print(f"{out / 'digits.onnx'}: {len(model)} bytes, {right} of {len(test_y)} held-out digits right.")


if __name__ == "__main__":
    main()
