"""How fast a device could run a graph at best, from what the graph costs and what the device can do.

A node takes as long as its arithmetic or its traffic with memory, whichever is longer, and what it costs to start
it. Real engines fuse nodes, which saves traffic, and reach only a part of the peaks, which costs time; the figure is
an estimate, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nimify.analysis.compute.cost import Compute, NodeCost

BASIS: Final = "estimated"

_STAND_INS: Final[Mapping[str, tuple[str, ...]]] = {
    "UINT8": ("INT8",),
    "INT4": ("INT8",),
    "UINT4": ("INT8",),
    "BFLOAT16": ("FLOAT16",),
    "FLOAT16": ("BFLOAT16",),
    "FLOAT8E5M2": ("FLOAT8E4M3FN", "FLOAT16"),
    "FLOAT8E4M3FN": ("FLOAT16",),
    "FLOAT4E2M1": ("FLOAT8E4M3FN", "FLOAT16"),
}
"""Whose peak counts for an element type that a device does not list."""


@dataclass(frozen=True, slots=True)
class Device:
    """What a device can do.

    Attributes:
        name: What to call it.
        flops_per_s: Operations per second by the name of `TensorProto.DataType`; `FLOAT` at least.
        bytes_per_s: What its memory moves per second.
        launch_s: Seconds to start one node.
        run_s: Seconds to start one run.
    """

    name: str
    flops_per_s: Mapping[str, float]
    bytes_per_s: float
    launch_s: float = 0.0
    run_s: float = 0.0

    def peak(self, element_type: str) -> float:
        """Operations per second for elements of a type; those of `FLOAT` where nothing better is known."""
        for name in (element_type, *_STAND_INS.get(element_type, ())):
            if name in self.flops_per_s:
                return self.flops_per_s[name]
        return self.flops_per_s["FLOAT"]


@dataclass(frozen=True, slots=True)
class Roofline:
    """What a device makes of a graph, at best.

    Attributes:
        device: Its name.
        items: Rows in one run.
        latency_s: Seconds of one run.
        compute_s: Seconds in nodes whose arithmetic takes longer than their traffic.
        memory_s: Seconds in nodes whose traffic takes longer.
        launch_s: Seconds to start nodes, and the run itself.
        by_operator: Seconds per operator, the slowest first.
    """

    device: str
    items: int
    latency_s: float
    compute_s: float
    memory_s: float
    launch_s: float
    by_operator: Mapping[str, float]

    @property
    def throughput_per_s(self) -> float:
        """Rows per second when one run follows the other."""
        return self.items / self.latency_s if self.latency_s else 0.0

    @property
    def bound(self) -> str:
        """What most of the time goes to: `compute`, `memory` or `launch`."""
        parts = {"compute": self.compute_s, "memory": self.memory_s, "launch": self.launch_s}
        return max(parts, key=lambda name: parts[name])

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "device": self.device,
            "basis": BASIS,
            "items": self.items,
            "latency_s": float(f"{self.latency_s:.4g}"),
            "throughput_per_s": float(f"{self.throughput_per_s:.4g}"),
            "bound": self.bound,
            "by_operator": {name: float(f"{seconds:.4g}") for name, seconds in self.by_operator.items()},
        }


def estimate_roofline(compute: Compute, device: Device, *, items: int = 1) -> Roofline:
    """What a device makes of a graph that costs `compute`.

    Args:
        compute: Of one run.
        device: What runs it.
        items: Rows in one run.
    """
    seconds: dict[str, float] = {}
    parts = {"compute": 0.0, "memory": 0.0, "launch": device.run_s}
    for cost in compute.nodes:
        if not cost.flops and not cost.bytes:
            continue
        arithmetic, traffic = _node_seconds(cost, device)
        parts["compute" if arithmetic > traffic else "memory"] += max(arithmetic, traffic)
        parts["launch"] += device.launch_s
        spent = max(arithmetic, traffic) + device.launch_s
        seconds[cost.operator] = seconds.get(cost.operator, 0.0) + spent
    return Roofline(
        device=device.name,
        items=items,
        latency_s=sum(parts.values()),
        compute_s=parts["compute"],
        memory_s=parts["memory"],
        launch_s=parts["launch"],
        by_operator=dict(sorted(seconds.items(), key=lambda item: (-item[1], item[0]))),
    )


def _node_seconds(cost: NodeCost, device: Device) -> tuple[float, float]:
    """Seconds of a node's arithmetic, and of its traffic with memory."""
    return cost.flops / device.peak(cost.element_type), cost.bytes / device.bytes_per_s
