"""Measurements as the rows of a table, for the terminal and for the page."""

from __future__ import annotations

from typing import Final

from nimify.loadtest.point import LoadPoint
from nimify.quantities import human_bytes, human_rate, human_seconds

HEAD: Final = ("load", "answered/s", "p50", "p95", "p99", "max", "failed", "server CPU", "batch", "memory")
_SHOWN: Final = ("p50", "p95", "p99", "max")
_NOTHING: Final = "-"


def row(point: LoadPoint) -> tuple[str, ...]:
    """One measurement, in the columns of `HEAD`; a dash stands for what is not known."""
    latencies = point.latencies_s
    return (
        level_text(point),
        human_rate(point.throughput) + ("*" if point.limited_by_client else ""),
        *(human_seconds(latencies[name]) if latencies else _NOTHING for name in _SHOWN),
        str(point.failed),
        *_server_cells(point),
    )


def level_text(point: LoadPoint) -> str:
    """The load in words: `8 connections`, `500/s`."""
    if point.kind == "open":
        return f"{human_rate(point.level)}/s"
    return "1 connection" if point.level == 1 else f"{point.level:.0f} connections"


def _server_cells(point: LoadPoint) -> tuple[str, str, str]:
    server = point.server
    if server is None:
        return (_NOTHING, _NOTHING, _NOTHING)
    return (
        _NOTHING if server.cpu_s_per_request is None else human_seconds(server.cpu_s_per_request),
        _NOTHING if server.mean_batch is None else f"{server.mean_batch:.1f}",
        _NOTHING if server.memory_bytes is None else human_bytes(int(server.memory_bytes)),
    )
