"""What one replica gets: instances of the model, CPUs and memory."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Final

from nimify.analysis.analysis import Analysis
from nimify.analysis.measure import Measurement
from nimify.analysis.outlook import MemoryFigure
from nimify.config import ResourcesConfig
from nimify.errors import ConfigError
from nimify.planning.plan import Basis, Decision, asked_or_default
from nimify.quantities import human_bytes, human_count, human_seconds

MIB: Final = 1 << 20
SERVICE_BYTES: Final = 48 * MIB
"""The service around the engine: its event loop, HTTP, and requests of usual size."""
GRAIN_BYTES: Final = 64 * MIB
"""Memory is asked for in multiples of this."""
BODIES: Final = 2
"""Largest request bodies that the limit has room for at once."""
UNKNOWN_FACTOR: Final = 3
"""Resident memory in terms of the model file, when nothing better is known."""

CORE_FLOPS: Final = 25e9
"""What one core is assumed to do in a second. Not measured where the plan is made, because a plan is the same on every
machine: a third of what ONNX Runtime reached in ResNet-50 with one thread of a server of 2026 (8.2 billion operations
in 108 ms), which leaves room for older cores, for neighbours, and for graphs that are slower by their nature."""
TARGET_S: Final = 0.1
"""An answer that feels immediate."""
MOST_CPUS: Final = 8
"""Beyond this, more replicas scale better than more threads."""


def decide_instances(asked: ResourcesConfig) -> Decision:
    """`resources.instances`: copies of the model in one replica."""
    reason = "One copy of the model already uses every CPU through its threads; more replicas scale better."
    return asked_or_default("resources.instances", asked.instances, 1, reason)


def decide_cpu(analysis: Analysis, asked: ResourcesConfig, threads: int, instances: int) -> list[Decision]:
    """`resources.cpu` and `resources.cpu_limit`, for instances with so many threads each.

    Raises:
        ConfigError: The limit is below what is to be reserved.
    """
    cpu = _cpu(analysis, asked, threads, instances)
    return [cpu, _cpu_limit(asked, cpu.value)]


def decide_memory(
    analysis: Analysis,
    asked: ResourcesConfig,
    *,
    max_batch_size: int,
    instances: int,
    max_body_bytes: int,
    response_cache_bytes: int = 0,
) -> list[Decision]:
    """`resources.memory` and `resources.memory_limit`, in bytes.

    Raises:
        ConfigError: The limit is below what is to be reserved.
    """
    memory = _memory(analysis, asked, max_batch_size, instances)
    if response_cache_bytes and asked.memory is None:
        memory = _with_response_cache(memory, response_cache_bytes)
    return [memory, _memory_limit(asked, memory, max_body_bytes)]


def _with_response_cache(memory: Decision, size_bytes: int) -> Decision:
    reason = f"{memory.reason} To that come {human_bytes(size_bytes)} for the response cache that you asked for."
    return replace(memory, value=_rounded(memory.value + size_bytes), reason=reason)


def replica_bytes(figure: MemoryFigure, *, instances: int) -> int:
    """What to reserve for a replica whose model takes what `figure` says: each instance is a process of its own."""
    return _rounded((figure.base_bytes + figure.model_high_bytes + SERVICE_BYTES) * instances)


def _cpu(analysis: Analysis, asked: ResourcesConfig, threads: int, instances: int) -> Decision:
    key = "resources.cpu"
    if asked.cpu is not None:
        return Decision(key, asked.cpu, "You asked for it.", Basis.ASKED)
    if threads:
        each = f" in each of {instances} instances" if instances > 1 else ""
        return Decision(key, threads * instances, f"As many as the {threads} threads{each}.", Basis.ASKED)
    if analysis.measured is not None:
        used, seconds = analysis.measured.threads, analysis.measured.points[0].p50_s
        where = _where(analysis.measured)
        reason = (
            f"As many as it was measured with{where}: {human_seconds(seconds)} for one request with {used} threads."
        )
        return Decision(key, used, reason, Basis.MEASURED)
    flops = analysis.flops_per_item
    if flops is None:
        return Decision(key, 1, "How much the model computes is not known.", Basis.DEFAULT)
    wanted = ceil(flops / (CORE_FLOPS * TARGET_S))
    if wanted <= 1:
        reason = (
            f"One item takes about {human_count(int(flops))} floating-point operations. One core, assumed to do "
            f"{CORE_FLOPS / 1e9:.0f} billion in a second, answers within {human_seconds(TARGET_S)}."
        )
        return Decision(key, 1, reason, Basis.ESTIMATED)
    reason = (
        f"One item takes about {human_count(int(flops))} floating-point operations. When each core does "
        f"{CORE_FLOPS / 1e9:.0f} billion in a second, which is an assumption, {wanted} cores answer within "
        f"{human_seconds(TARGET_S)}"
    )
    capped = f"; beyond {MOST_CPUS}, more replicas scale better." if wanted > MOST_CPUS else "."
    return Decision(key, min(wanted, MOST_CPUS), reason + capped, Basis.ESTIMATED)


def _cpu_limit(asked: ResourcesConfig, cpu: float) -> Decision:
    key = "resources.cpu_limit"
    if asked.cpu_limit is None:
        reason = "None: a limit would halt the service in the middle of requests, and guards nobody's reserved CPUs."
        return Decision(key, None, reason, Basis.DEFAULT)
    if asked.cpu_limit < cpu:
        raise ConfigError(
            f"{asked.cpu_limit:g} CPUs are fewer than the {cpu:g} that are to be reserved.",
            field=key,
            remedy="Raise it, or lower resources.cpu.",
        )
    return Decision(key, asked.cpu_limit, "You asked for it.", Basis.ASKED)


def _memory(analysis: Analysis, asked: ResourcesConfig, max_batch_size: int, instances: int) -> Decision:
    key = "resources.memory"
    if asked.memory is not None:
        return Decision(key, asked.memory, "You asked for it.", Basis.ASKED)
    figure = analysis.memory_at(max(max_batch_size, 1))
    if figure is None:
        size = analysis.model.size_bytes
        reason = (
            f"What the model takes could not be estimated; this is {UNKNOWN_FACTOR} times its file of "
            f"{human_bytes(size)}, with room for the engine and the service."
        )
        return Decision(key, _rounded((UNKNOWN_FACTOR * size + 3 * SERVICE_BYTES) * instances), reason, Basis.DEFAULT)
    reason = _memory_reason(figure, instances, analysis.measured)
    return Decision(key, replica_bytes(figure, instances=instances), reason, _basis(figure))


def _where(measured: Measurement) -> str:
    return f" on {measured.machine}" if measured.machine else ""


def _memory_reason(figure: MemoryFigure, instances: int, measured: Measurement | None) -> str:
    copies = f" in each of {instances} processes" if instances > 1 else ""
    if figure.measured and measured is not None:
        return (
            f"Measured{_where(measured)}: {human_bytes(figure.model_bytes)} for the model and "
            f"{human_bytes(figure.base_bytes)} for the engine at a batch of {figure.batch}, "
            f"and {human_bytes(SERVICE_BYTES)} for the service{copies}."
        )
    return (
        f"Estimated at a batch of {figure.batch}: up to {human_bytes(figure.model_high_bytes)} for the model, "
        f"{human_bytes(figure.base_bytes)} for the engine and {human_bytes(SERVICE_BYTES)} for the service{copies}."
    )


def _memory_limit(asked: ResourcesConfig, memory: Decision, max_body_bytes: int) -> Decision:
    key = "resources.memory_limit"
    if asked.memory_limit is not None:
        if asked.memory_limit < memory.value:
            raise ConfigError(
                f"{human_bytes(asked.memory_limit)} are less than the {human_bytes(memory.value)} that are to be "
                f"reserved. {memory.reason}",
                field=key,
                remedy="Raise it, or lower batching.max_batch_size or resources.memory.",
            )
        return Decision(key, asked.memory_limit, "You asked for it.", Basis.ASKED)
    value = _rounded(memory.value + BODIES * max_body_bytes)
    reason = (
        f"What is reserved, with room for {BODIES} request bodies of the largest size "
        f"({human_bytes(max_body_bytes)}) while they are read."
    )
    return Decision(key, value, reason, memory.basis if memory.basis is not Basis.ASKED else Basis.DEFAULT)


def _basis(figure: MemoryFigure) -> Basis:
    return Basis.MEASURED if figure.measured else Basis.ESTIMATED


def _rounded(size_bytes: float) -> int:
    return ceil(size_bytes / GRAIN_BYTES) * GRAIN_BYTES
