"""The roofline of a device: arithmetic or traffic per node, whichever is longer, and what it costs to start one."""

from __future__ import annotations

import pytest

from nimify.analysis.compute import Compute, NodeCost
from nimify.analysis.roofline import Device, estimate_roofline

DEVICE = Device("card", {"FLOAT": 100.0, "FLOAT16": 200.0, "INT8": 400.0}, bytes_per_s=10.0, launch_s=0.5)


def compute_of(*costs: NodeCost) -> Compute:
    return Compute(sum(cost.flops for cost in costs), 0, sum(cost.bytes for cost in costs), {}, costs, ())


def node(operator: str, flops: int, moved: int, element_type: str = "FLOAT") -> NodeCost:
    return NodeCost("n", operator, flops, 0, moved, 0, element_type)


def test_each_node_takes_the_longer_of_arithmetic_and_traffic() -> None:
    """A product of 1000 operations and 10 bytes is bound by compute, an addition of 10 and 100 by memory."""
    found = estimate_roofline(compute_of(node("MatMul", 1000, 10), node("Add", 10, 100)), DEVICE, items=4)
    assert (found.compute_s, found.memory_s, found.launch_s) == (10.0, 10.0, 1.0)
    assert found.latency_s == 21.0
    assert found.throughput_per_s == 4 / 21
    assert found.by_operator == {"Add": 10.5, "MatMul": 10.5}


@pytest.mark.parametrize(
    ("element_type", "seconds"),
    [("FLOAT", 10.0), ("FLOAT16", 5.0), ("BFLOAT16", 5.0), ("UINT8", 2.5), ("DOUBLE", 10.0), ("", 10.0)],
)
def test_the_peak_is_that_of_the_element_type(element_type: str, seconds: float) -> None:
    """Halves and bytes are faster; a type that the device does not list counts like its nearest kin."""
    assert estimate_roofline(compute_of(node("MatMul", 1000, 0, element_type)), DEVICE).compute_s == seconds


def test_a_node_that_does_nothing_costs_nothing() -> None:
    """Renaming a tensor is not even started."""
    found = estimate_roofline(compute_of(node("Reshape", 0, 0)), DEVICE)
    assert (found.latency_s, found.throughput_per_s) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("cost", "bound"),
    [(node("MatMul", 10_000, 1), "compute"), (node("Add", 1, 10_000), "memory"), (node("Add", 1, 1), "launch")],
)
def test_it_says_what_most_of_the_time_goes_to(cost: NodeCost, bound: str) -> None:
    """Compute, memory, or starting nodes."""
    found = estimate_roofline(compute_of(cost), DEVICE)
    assert found.bound == bound
    assert found.to_dict()["basis"] == "estimated"
