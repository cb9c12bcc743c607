"""Models that the comparison needs beside `nimify.testing.models`."""

from __future__ import annotations

import onnx
from tests.triton.protocol.script import EVERY_TYPE

from nimify.testing.graph_builder import GraphBuilder


def every_type() -> onnx.ModelProto:
    """Gives back an input of every datatype, each `[batch, n]`, as `<datatype>_out`."""
    graph = GraphBuilder("every_type")
    for datatype in EVERY_TYPE:
        name = graph.input(datatype.lower(), datatype, ["batch", "n"])
        graph.output(graph.op("Identity", name, out=f"{name}_out"), datatype, ["batch", "n"])
    return graph.model()


def work() -> onnx.ModelProto:
    """`index` INT64[batch, 1] below 1000 to `y` = index + 30 000, in some 30 ms."""
    graph = GraphBuilder("work")
    index = graph.input("index", "INT64", ["batch", 1])
    row = graph.op("Gather", graph.constant(range(1000)), index)
    body = GraphBuilder("body")
    body.input("step", "INT64", [])
    body.input("go_on", "BOOL", [])
    state = body.input("state", "FP32", ["batch", 1])
    body.output(body.op("Identity", "go_on", out="go_on_out"), "BOOL", [])
    body.output(body.op("Add", state, body.constant(1.0), out="state_out"), "FP32", ["batch", 1])
    trips = graph.constant(30_000, "int64")
    graph.op("Loop", trips, graph.constant(True, "bool"), row, out="y", body=body.graph())
    graph.output("y", "FP32", ["batch", 1])
    return graph.model()
