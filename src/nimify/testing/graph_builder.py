"""A short way to write an ONNX graph by hand, for tests.

    graph = GraphBuilder("double")
    x = graph.input("x", "FP32", ["batch", 4])
    graph.output(graph.op("Add", x, x, out="y"), "FP32", ["batch", 4])
    model = graph.model()

Weights are drawn from a fixed seed and names are counted, so building twice gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nimify.tensors import DATATYPES, Dim

IR_VERSION = 10
OPSET = 17
ML_OPSET = 3


class GraphBuilder:
    """Collects nodes, inputs, outputs and weights, and makes a model of them."""

    def __init__(self, name: str, *, seed: int = 0) -> None:
        self.name = name
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._initializers: list[onnx.TensorProto] = []

    def input(self, name: str, datatype: str, shape: Sequence[Dim]) -> str:
        """Declare an input; `datatype` is an Open Inference name such as `FP32`."""
        self._inputs.append(value_info(name, datatype, shape))
        return name

    def output(self, name: str, datatype: str, shape: Sequence[Dim]) -> None:
        """Declare a value as an output."""
        self._outputs.append(value_info(name, datatype, shape))

    def raw_input(self, info: onnx.ValueInfoProto) -> str:
        """Declare an input of a type that `input` cannot express, e.g. a map."""
        self._inputs.append(info)
        return info.name

    def raw_output(self, info: onnx.ValueInfoProto) -> None:
        """Declare an output of a type that `output` cannot express, e.g. a sequence."""
        self._outputs.append(info)

    def constant(self, values: Any, dtype: str = "float32") -> str:
        """Store an array as an initializer."""
        name = f"const_{len(self._initializers)}"
        self._initializers.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def weight(self, *shape: int, dtype: str = "float32") -> str:
        """Store normally distributed weights, scaled so that activations keep their size."""
        fan_in = int(np.prod(shape[1:])) if len(shape) == 4 else shape[0]
        return self.constant(self._random.standard_normal(shape) / np.sqrt(fan_in), dtype)

    def op(self, kind: str, *inputs: str, out: str = "", domain: str = "", **attributes: Any) -> str:
        """Add a node with one output and return that output's name."""
        result = out or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [result], domain=domain, **attributes))
        return result

    def graph(self) -> onnx.GraphProto:
        """What was collected, as a graph: a subgraph for `If` and `Loop`, or the body of a model."""
        return helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, self._initializers)

    def model(self) -> onnx.ModelProto:
        """What was collected, as a model that current engines load."""
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        return helper.make_model(
            self.graph(), opset_imports=opsets, ir_version=IR_VERSION, producer_name="nimify.testing"
        )


def value_info(name: str, datatype: str, shape: Sequence[Dim]) -> onnx.ValueInfoProto:
    """A declared tensor; `datatype` is an Open Inference name such as `INT64`."""
    return helper.make_tensor_value_info(name, DATATYPES[datatype].onnx, list(shape))
