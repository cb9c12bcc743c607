"""How long a replica may take to be ready, and to stop."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

from nimify.analysis.analysis import Analysis
from nimify.config import DeploymentConfig
from nimify.planning.plan import Basis, Decision, asked_or_default
from nimify.quantities import human_bytes, human_seconds

SAFETY: Final = 3
"""A busy node with cold disks loads about so many times slower than a quiet one."""
READ_BYTES_PER_S: Final = 50e6
"""At which a model is read, checked against its digest and loaded from a network disk: cautious, not measured."""
START_S: Final = 20
"""The process and its libraries, before the model."""
TRITON_START_S: Final = 100
"""Triton with its backends and CUDA on a cold node, before the model."""
ENGINE_BUILD_S: Final = 400
"""TensorRT builds its engines when the cache is empty."""
LEAST_STARTUP_S: Final = 60
PRE_STOP_S: Final = {"cpu": 5, "triton": 10}
"""The embedded engine goes on accepting after SIGTERM as well; Triton's gRPC port does not."""
MARGIN_S: Final = 5
"""Between the last request and the kill: logs are flushed, workers are joined."""


def decide_startup(analysis: Analysis, asked: DeploymentConfig, *, family: str, tensorrt: bool) -> Decision:
    """`deployment.startup_s`: the budget of the startup probe."""
    key = "deployment.startup_s"
    if asked.startup_s is not None:
        return Decision(key, asked.startup_s, "You asked for it.", Basis.ASKED)
    start = TRITON_START_S if family == "triton" else START_S
    build = ENGINE_BUILD_S if family == "triton" and tensorrt else 0
    if analysis.measured is not None:
        load, basis = analysis.measured.load_s, Basis.MEASURED
        source = f"{human_seconds(load)} were measured to load the model"
    else:
        size = analysis.model.size_bytes
        load, basis = size / READ_BYTES_PER_S, Basis.ESTIMATED
        source = f"loading {human_bytes(size)} is estimated at {human_seconds(load)} from a network disk"
    value = max(LEAST_STARTUP_S, _tens(SAFETY * (start + load + build)))
    parts = f", {start} s are allowed for the {'server' if family == 'triton' else 'process'}"
    parts += f" and {build} s for TensorRT to build its engines" if build else ""
    reason = f"{source[0].upper()}{source[1:]}{parts}; {SAFETY} times that, for a busy node."
    return Decision(key, value, reason, basis)


def decide_shutdown(asked: DeploymentConfig, limits: Mapping[str, Any], *, family: str) -> list[Decision]:
    """`deployment.pre_stop_s` and `deployment.termination_grace_s`: the parts add up, so that nothing is cut off.

    Args:
        asked: What was asked for.
        limits: The decided `limits.*` by key.
        family: The runtime family.
    """
    pre_stop = _pre_stop(asked, family)
    drain, in_flight = (ceil(limits[f"limits.{name}"]) for name in ("drain_s", "shutdown_grace_s"))
    grace = pre_stop.value + drain + in_flight + MARGIN_S
    reason = (
        f"{pre_stop.value} s before SIGTERM, {drain} s in which the service goes on accepting, {in_flight} s for "
        f"requests in flight, and {MARGIN_S} s to spare."
    )
    return [pre_stop, Decision("deployment.termination_grace_s", grace, reason, Basis.DEFAULT)]


def _pre_stop(asked: DeploymentConfig, family: str) -> Decision:
    reason = "Load balancers learn late that a pod is going; until then it answers as before."
    return asked_or_default("deployment.pre_stop_s", asked.pre_stop_s, PRE_STOP_S[family], reason)


def _tens(seconds: float) -> int:
    return ceil(seconds / 10) * 10
