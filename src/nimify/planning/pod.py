"""What a pod is given beside the engine: memory for Triton, and places to write to."""

from __future__ import annotations

from math import ceil
from typing import Final

from nimify.planning.plan import Basis, Decision
from nimify.planning.resources import MIB
from nimify.quantities import human_bytes

TRITON_BYTES: Final = 2048 * MIB
"""Triton with CUDA on the host's side: a cautious figure, not a measurement."""
TMP_BYTES: Final = 128 * MIB
CACHE_BYTES: Final = 64 * MIB
LOG_BYTES: Final = 64 * MIB
"""Container logs before the kubelet rotates them away; they count as ephemeral storage."""
SHM_BYTES: Final = 256 * MIB
ENGINE_FACTOR: Final = 3
"""TensorRT's engines and timing caches in terms of the model file."""


def decide_pod_memory(memory: int, memory_limit: int, *, family: str) -> list[Decision]:
    """`deployment.memory` and `deployment.memory_limit`: for the pod as a whole, in bytes."""
    keys = ("deployment.memory", "deployment.memory_limit")
    if family == "cpu":
        reason = "The embedded engine is all that the pod runs."
        return [
            Decision(key, value, reason, Basis.DEFAULT) for key, value in zip(keys, (memory, memory_limit), strict=True)
        ]
    extra = TRITON_BYTES + SHM_BYTES
    reason = (
        f"Estimated: what the embedded engine would take, and {human_bytes(extra)} for Triton, CUDA and shared memory."
    )
    return [
        Decision(key, value + extra, reason, Basis.ESTIMATED)
        for key, value in zip(keys, (memory, memory_limit), strict=True)
    ]


def decide_scratch(model_bytes: int, *, family: str, tensorrt: bool) -> list[Decision]:
    """`deployment.tmp` and `deployment.cache`: the only places that a pod may write to, in bytes."""
    tmp = Decision("deployment.tmp", TMP_BYTES, "The service keeps only small files there.", Basis.DEFAULT)
    key = "deployment.cache"
    if family == "triton" and tensorrt:
        value = max(CACHE_BYTES, ceil(ENGINE_FACTOR * model_bytes / MIB) * MIB)
        reason = f"TensorRT's engines are estimated at up to {ENGINE_FACTOR} times the model file."
        return [tmp, Decision(key, value, reason, Basis.ESTIMATED)]
    return [tmp, Decision(key, CACHE_BYTES, "Nothing of size is cached.", Basis.DEFAULT)]
