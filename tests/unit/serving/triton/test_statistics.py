"""Triton's statistics, added to our metrics."""

from __future__ import annotations

from typing import Any

import pytest

from nimify.metrics.registry import Registry
from nimify.metrics.service import ModelMetrics
from nimify.serving.triton.statistics import Statistics


def document(rows: int, runs: dict[int, int], ns: int) -> dict[str, Any]:
    """What Triton answers, as far as it is read."""
    parts = {name: {"count": 1, "ns": ns} for name in ("queue", "compute_input", "compute_infer", "compute_output")}
    batches = [
        {"batch_size": size, **{name: {"count": count, "ns": 10 * count} for name in parts if name != "queue"}}
        for size, count in runs.items()
    ]
    row = {
        "last_inference": 1_700_000_000_500,
        "inference_count": rows,
        "execution_count": sum(runs.values()),
        "inference_stats": parts,
        "batch_stats": batches,
    }
    return {"model_stats": [row]}


def test_only_what_has_come_since_is_added() -> None:
    """The warm-up and what was counted before are not counted again; times come in microseconds."""
    registry = Registry()
    metrics = ModelMetrics(registry, "m", "1", 8)
    before = Statistics.from_document(document(1, {1: 1}, ns=1_000))
    after = Statistics.from_document(document(14, {1: 2, 4: 3}, ns=9_000))
    after.add_growth(before, metrics)
    values = {series.metric.name: registry.total(series.first_cell) for series in registry.series}
    assert values["nv_inference_count"] == 13
    assert values["nv_inference_exec_count"] == 4
    assert values["nv_inference_queue_duration_us"] == 8
    assert values["nv_inference_compute_infer_duration_us"] == 8
    (batch,) = [series for series in registry.series if series.metric.name == "nim_batch_size"]
    buckets = dict(zip(batch.metric.buckets, (registry.total(batch.first_cell + i) for i in range(9)), strict=False))
    assert (buckets[1], buckets[4]) == (1, 3)
    assert [registry.total(cell) for cell in metrics.run_times.cells_by_rows[4]] == [3, 30, 30, 30]
    assert values["nim_last_run_timestamp_seconds"] == 1_700_000_000.5


@pytest.mark.parametrize("wrong", [{}, {"model_stats": []}, {"model_stats": [{}]}])
def test_another_answer_is_refused(wrong: dict[str, Any]) -> None:
    """It is not taken for zeros."""
    with pytest.raises((KeyError, IndexError)):
        Statistics.from_document(wrong)
