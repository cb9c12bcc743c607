"""The order in which nodes run is that of the engine, as its own profile tells it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from nimify.analysis.execution_order import execution_order
from nimify.analysis.structure import infer_in_process
from nimify.testing.graph_builder import GraphBuilder


def tangled(seed: int, nodes: int = 30) -> onnx.ModelProto:
    """Sums of results that are drawn from all that is there, some of which nobody else reads."""
    chosen, graph = random.Random(seed), GraphBuilder("tangled")
    made = [graph.input("x", "FP32", ["N", 4])]
    for _ in range(nodes):
        made.append(graph.op("Sum", *chosen.sample(made, min(len(made), chosen.randint(1, 3)))))
    for index, name in enumerate(chosen.sample(made[1:], 2)):
        graph.output(graph.op("Neg", name, out=f"y{index}"), "FP32", ["N", 4])
    return graph.model()


def profiled(path: Path) -> list[str]:
    """The first output of each node, in the order in which ONNX Runtime ran them."""
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(path.with_suffix(".profile"))
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    session.run(None, {"x": np.zeros((1, 4), np.float32)})
    events = json.loads(Path(session.end_profiling()).read_bytes())
    ran = [event["args"]["node_index"] for event in events if event.get("name", "").endswith("_kernel_time")]
    nodes = onnx.load(str(path)).graph.node
    return [nodes[int(index)].output[0] for index in ran]


@pytest.mark.parametrize("seed", range(8))
def test_nodes_run_in_the_order_of_the_engine(tmp_path: Path, seed: int) -> None:
    """Side branches, results that nobody reads, and several outputs."""
    path = tmp_path / "tangled.onnx"
    onnx.save(tangled(seed), str(path))
    (graph,) = infer_in_process(path, {"N": 1})
    assert [node.outputs[0] for node in execution_order(graph.nodes, lambda node: node.inputs)] == profiled(path)
