"""What a pod is given beside the engine: memory for Triton, and places to write to."""

from __future__ import annotations

from math import ceil
from typing import Final

from nimify.errors import ConfigError
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


def decide_pod_memory(memory: Decision, memory_limit: Decision, *, family: str) -> list[Decision]:
    """`deployment.memory` and `deployment.memory_limit`: for the pod as a whole, in bytes.

    Args:
        memory: `resources.memory`, for the embedded engine.
        memory_limit: `resources.memory_limit`.
        family: Of the image, `cpu` or `triton`.

    Raises:
        ConfigError: The limit that was asked for leaves no room for Triton.
    """
    if family == "cpu":
        reason = "The embedded engine is all that the pod runs."
        return [
            Decision("deployment.memory", memory.value, reason, memory.basis),
            Decision("deployment.memory_limit", memory_limit.value, reason, memory_limit.basis),
        ]
    reserved = _with_triton("deployment.memory", memory)
    limit = _with_triton("deployment.memory_limit", memory_limit)
    if limit.value < reserved.value:
        raise ConfigError(
            f"{human_bytes(limit.value)} are less than the {human_bytes(reserved.value)} that are to be reserved. "
            f"{reserved.reason}",
            field=memory_limit.key,
            remedy="Raise it, or lower batching.max_batch_size or resources.memory.",
        )
    return [reserved, limit]


def _with_triton(key: str, decision: Decision) -> Decision:
    """What was asked for is for all of the pod; what was worked out is for the engine alone."""
    if decision.basis is Basis.ASKED:
        return Decision(key, decision.value, "You asked for it.", Basis.ASKED)
    extra = TRITON_BYTES + SHM_BYTES
    reason = (
        f"Estimated: what the embedded engine would take, and {human_bytes(extra)} for Triton, CUDA and shared memory."
    )
    return Decision(key, decision.value + extra, reason, Basis.ESTIMATED)


def decide_scratch(model_bytes: int, *, family: str, tensorrt: bool) -> list[Decision]:
    """`deployment.tmp` and `deployment.cache`: the only places that a pod may write to, in bytes."""
    tmp = Decision("deployment.tmp", TMP_BYTES, "The service keeps only small files there.", Basis.DEFAULT)
    key = "deployment.cache"
    if family == "triton" and tensorrt:
        value = max(CACHE_BYTES, ceil(ENGINE_FACTOR * model_bytes / MIB) * MIB)
        reason = f"TensorRT's engines are estimated at up to {ENGINE_FACTOR} times the model file."
        return [tmp, Decision(key, value, reason, Basis.ESTIMATED)]
    return [tmp, Decision(key, CACHE_BYTES, "Nothing of size is cached.", Basis.DEFAULT)]
