"""What the service has done since it started, in the words of Triton's statistics extension.

Taken from the metrics, so that both tell one story: over all workers, and over those that died. Requests that waited
and were computed are counted when they ran, whether or not the model then refused them, as their times are.
"""

from __future__ import annotations

from typing import Any

from nimify.metrics.registry import Counter, Registry
from nimify.metrics.service import ModelMetrics
from nimify.serving.spec import ServiceSpec

Duration = dict[str, int]
"""How many, and how many nanoseconds together."""


class ModelStatistics:
    """Reads the statistics of one model."""

    def __init__(self, spec: ServiceSpec, metrics: ModelMetrics, registry: Registry) -> None:
        self._spec = spec
        self._metrics = metrics
        self._registry = registry

    def read(self) -> dict[str, Any]:
        """One entry of `model_stats`, numbers as numbers."""
        metrics, total = self._metrics, self._total
        ran = int(sum(self._registry.total(cell) for cell in metrics.queue_s.count_cells))
        return {
            "name": self._spec.name,
            "version": self._spec.model_version,
            "last_inference": int(self._registry.total(metrics.last_run_s.cell, how="max") * 1000),
            "inference_count": total(metrics.rows),
            "execution_count": total(metrics.executions),
            "inference_stats": {
                "success": self._duration(total(metrics.success), metrics.request_us),
                "fail": self._duration(sum(map(total, metrics.failure.values())), metrics.failed_us),
                "queue": self._duration(ran, metrics.queue_us),
                "compute_input": self._duration(ran, metrics.compute_input_us),
                "compute_infer": self._duration(ran, metrics.compute_infer_us),
                "compute_output": self._duration(ran, metrics.compute_output_us),
                "cache_hit": self._duration(total(metrics.cache_hits), metrics.cache_hit_us),
                "cache_miss": self._duration(total(metrics.cache_misses), metrics.cache_miss_us),
            },
            "response_stats": {},
            "batch_stats": self._batches(),
            "memory_usage": [],
        }

    def _total(self, counter: Counter) -> int:
        return int(self._registry.total(counter.cell))

    def _duration(self, count: int, microseconds: Counter) -> Duration:
        return {"count": count, "ns": round(self._registry.total(microseconds.cell) * 1000)}

    def _batches(self) -> list[dict[str, Any]]:
        """How long runs took, by the number of their rows."""
        batches = []
        for rows, cells in self._metrics.run_times.cells_by_rows.items():
            count, taken_in, inferred, given_out = (self._registry.total(cell) for cell in cells)
            if count:
                batches.append(
                    {
                        "batch_size": rows,
                        "compute_input": {"count": int(count), "ns": round(taken_in)},
                        "compute_infer": {"count": int(count), "ns": round(inferred)},
                        "compute_output": {"count": int(count), "ns": round(given_out)},
                    }
                )
        return batches
