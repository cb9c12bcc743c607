"""What the service says of itself before and after a measurement: CPU time, memory, rows and runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nimify.conformance.client import Client, NoAnswer
from nimify.loadtest.point import ServerUse
from nimify.metrics.catalog import EXECUTION_COUNT, INFERENCE_COUNT, PROCESS_CPU, PROCESS_MEMORY

_PATH: Final = "/v1/metrics"
_NAMES: Final = frozenset({PROCESS_CPU.name, PROCESS_MEMORY.name, INFERENCE_COUNT.name, EXECUTION_COUNT.name})


def sample(client: Client) -> Mapping[str, float] | None:
    """The figures as they are now, summed over labels; `None` when the service has none."""
    try:
        answer = client.get(_PATH)
    except NoAnswer:
        return None
    if answer.status != 200:
        return None
    figures = dict.fromkeys(_NAMES, 0.0)
    found = False
    for line in answer.body.decode("utf-8", "replace").splitlines():
        name = line.partition("{")[0].partition(" ")[0]
        if name in _NAMES:
            try:
                figures[name] += float(line.rpartition(" ")[2])
            except ValueError:
                continue
            found = True
    return figures if found else None


def between(before: Mapping[str, float] | None, after: Mapping[str, float] | None, requests: int) -> ServerUse | None:
    """What the service did between two samples."""
    if before is None or after is None:
        return None
    cpu_s = after[PROCESS_CPU.name] - before[PROCESS_CPU.name]
    runs = after[EXECUTION_COUNT.name] - before[EXECUTION_COUNT.name]
    rows = after[INFERENCE_COUNT.name] - before[INFERENCE_COUNT.name]
    return ServerUse(
        cpu_s_per_request=cpu_s / requests if requests and cpu_s > 0 else None,
        memory_bytes=after[PROCESS_MEMORY.name] or None,
        mean_batch=rows / runs if runs > 0 else None,
    )
