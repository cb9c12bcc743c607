"""Prometheus text exposition format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from nimify.metrics.catalog import Metric
from nimify.metrics.registry import Registry, Series

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def exposition(registry: Registry) -> str:
    """All series of a registry, added up over its workers, grouped by metric in the order of registration."""
    families: dict[Metric, list[Series]] = {}
    for series in registry.series:
        families.setdefault(series.metric, []).append(series)
    lines: list[str] = []
    for metric, members in families.items():
        lines.extend(head(metric))
        for series in members:
            lines.extend(_samples(registry, series))
    lines.append("")
    return "\n".join(lines)


def head(metric: Metric) -> tuple[str, str]:
    """The lines that come before the samples of a metric."""
    return f"# HELP {metric.name} {_escaped_help(metric.help)}", f"# TYPE {metric.name} {metric.kind}"


def sample_line(metric: Metric, label_values: tuple[str, ...], value: float) -> str:
    """The line of one series of a counter or gauge."""
    return f"{metric.name}{_braced(_labels(metric, label_values))} {_number(value)}"


def _samples(registry: Registry, series: Series) -> Iterator[str]:
    metric = series.metric
    if metric.kind != "histogram":
        value = registry.total(series.first_cell, how=metric.per_worker, vacant=metric.kind == "counter")
        yield sample_line(metric, series.label_values, value)
        return
    labels = _labels(metric, series.label_values)
    bounds = [*(_number(bound) for bound in metric.buckets), "+Inf"]
    counts = [registry.total(series.first_cell + index) for index in range(len(bounds))]
    for bound, count in zip(bounds, accumulate(counts), strict=True):
        limit = f'le="{bound}"'
        yield f"{metric.name}_bucket{_braced([*labels, limit])} {_number(count)}"
    yield f"{metric.name}_sum{_braced(labels)} {_number(registry.total(series.first_cell + len(bounds)))}"
    yield f"{metric.name}_count{_braced(labels)} {_number(sum(counts))}"


def _labels(metric: Metric, values: tuple[str, ...]) -> list[str]:
    return [f'{name}="{_escaped(value)}"' for name, value in zip(metric.labels, values, strict=True)]


def _braced(labels: list[str]) -> str:
    return f"{{{','.join(labels)}}}" if labels else ""


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _escaped_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
