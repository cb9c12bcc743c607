"""What happens inside Triton, read from its statistics while there is traffic and added to our metrics.

How long a request waits there, how many are merged and how long a run takes only Triton knows. What others send to its
gRPC, past our front, is among it, as it should be: these are figures of the model, not of the front.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from nimify.metrics.service import ModelMetrics
from nimify.serving.triton.connection import ConnectionGone
from nimify.serving.triton.questions import ask

_INTERVAL_S: Final = 0.5
_PARTS: Final = ("compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True, slots=True)
class Statistics:
    """Triton's counters of one model since it was loaded.

    Attributes:
        rows: Rows that were run.
        executions: Runs.
        spent_ns: Nanoseconds by what they were spent on, added up over requests.
        counts: How many requests that were, by the same names.
        batches: Runs by their number of rows: how many, and the nanoseconds that went into each of `_PARTS`.
        last_run_s: Unix time of the last run.
    """

    rows: int
    executions: int
    spent_ns: Mapping[str, int]
    counts: Mapping[str, int]
    batches: Mapping[int, tuple[int, ...]]
    last_run_s: float

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Statistics:
        """Read what Triton answers at `/v2/models/{name}/versions/{version}/stats`.

        Raises:
            KeyError, IndexError, TypeError: It is something else.
        """
        row = document["model_stats"][0]
        return cls(
            rows=int(row["inference_count"]),
            executions=int(row["execution_count"]),
            spent_ns={name: int(part["ns"]) for name, part in row["inference_stats"].items()},
            counts={name: int(part["count"]) for name, part in row["inference_stats"].items()},
            batches={
                int(batch["batch_size"]): (
                    int(batch["compute_infer"]["count"]),
                    *(int(batch[part]["ns"]) for part in _PARTS),
                )
                for batch in row["batch_stats"]
            },
            last_run_s=int(row["last_inference"]) / 1e3,
        )

    def add_growth(self, before: Statistics, metrics: ModelMetrics) -> None:
        """Add what has come since `before`."""
        metrics.rows.add(self.rows - before.rows)
        metrics.executions.add(self.executions - before.executions)
        for name, counter in (
            ("queue", metrics.queue_us),
            ("compute_input", metrics.compute_input_us),
            ("compute_infer", metrics.compute_infer_us),
            ("compute_output", metrics.compute_output_us),
            ("cache_hit", metrics.cache_hit_us),
            ("cache_miss", metrics.cache_miss_us),
        ):
            counter.add((self.spent_ns.get(name, 0) - before.spent_ns.get(name, 0)) / 1e3)
        for name, counter in (("cache_hit", metrics.cache_hits), ("cache_miss", metrics.cache_misses)):
            counter.add(self.counts.get(name, 0) - before.counts.get(name, 0))
        for rows, batch in self.batches.items():
            runs, *spent = (now - then for now, then in zip(batch, before.batches.get(rows, (0,) * 4), strict=True))
            for _ in range(runs):
                metrics.batch_size.observe(rows)
                metrics.run_times.add(rows, *(part / runs for part in spent))
        metrics.last_run_s.set(self.last_run_s)


class StatisticsReader:
    """Reads the statistics of one running Triton until it is closed.

    Args:
        port: Of Triton's HTTP.
        path: Of the model.
        metrics: What the growth is added to; what came before the first reading, such as the warm-up, is not.
    """

    def __init__(self, port: int, path: str, metrics: ModelMetrics) -> None:
        self._port = port
        self._path = f"{path}/stats"
        self._metrics = metrics
        self._last: Statistics | None = None
        self._traffic = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what has been until now, which does not count, and from then on what is added."""
        self._last = await self._read()
        self._task = asyncio.get_running_loop().create_task(self._read_on())

    def touch(self) -> None:
        """There was traffic: the statistics have changed, or soon will have."""
        self._traffic.set()

    def close(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()

    async def _read_on(self) -> None:
        while True:
            await self._traffic.wait()
            await asyncio.sleep(_INTERVAL_S)
            self._traffic.clear()
            statistics = await self._read()
            if statistics is not None:
                if self._last is not None:
                    statistics.add_growth(self._last, self._metrics)
                self._last = statistics

    async def _read(self) -> Statistics | None:
        try:
            return Statistics.from_document(orjson.loads((await ask(self._port, self._path)).body))
        except (ConnectionGone, ValueError, KeyError, IndexError, TypeError):
            return None  # it is about to end, or answers nonsense; the requests themselves will tell
