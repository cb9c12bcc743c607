"""One measurement from its first connection to its last answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import uvloop

from nimify.conformance.client import Client
from nimify.loadtest.loops import ClosedLoop, Loop, OpenLoop
from nimify.loadtest.point import Kind, LoadPoint
from nimify.loadtest.pool import Traffic
from nimify.loadtest.recorder import Recorder
from nimify.loadtest.server_use import between, sample

_GLANCE_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Glance:
    """How a measurement goes, several times a second.

    Attributes:
        kind: Of the loop.
        level: Connections or rate.
        share: How much of its time is over, from 0 to 1.
        requests: Answered or lost so far.
        failed: How many of them were not answered right.
        throughput: Requests in a second since the glance before.
    """

    kind: Kind
    level: float
    share: float
    requests: int
    failed: int
    throughput: float


Watch = Callable[[Glance], None]


def unwatched(_: Glance) -> None:
    """For those who do not look."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """How to measure.

    Attributes:
        traffic: What is sent, and where to.
        client: Asks the service for its metrics, impatient as the load goes on meanwhile; `None` when it has none.
        duration_s: How long to measure.
        warmup_s: How long to send before that.
        watch: Told how it goes.
    """

    traffic: Traffic
    client: Client | None
    duration_s: float
    warmup_s: float
    watch: Watch = unwatched

    def closed(self, connections: int) -> LoadPoint:
        """Measure under a closed loop.

        Raises:
            EnvironmentProblem: The service cannot be reached.
        """
        return uvloop.run(self._run("closed", connections))

    def open(self, rate: float) -> LoadPoint:
        """Measure under an open loop of so many requests in a second; raises as `closed` does."""
        return uvloop.run(self._run("open", rate))

    async def _run(self, kind: Kind, level: float) -> LoadPoint:
        recorder = Recorder()
        loop = self._loop(kind, level, recorder)
        try:
            await loop.begin()
            await asyncio.sleep(self.warmup_s)
            before = await asyncio.to_thread(sample, self.client)
            started_ns, cpu_s = time.perf_counter_ns(), time.process_time()
            loop.pool.measuring = True
            await self._wait(kind, level, recorder)
            loop.pool.measuring = False
        finally:
            await loop.end()
        # The last answers may come after the end; the time until then counts, as they do.
        elapsed_s = max((recorder.last_ns - started_ns) / 1e9, self.duration_s)
        used_s = time.process_time() - cpu_s
        after = None if before is None else await asyncio.to_thread(sample, self.client)
        return LoadPoint.of(
            kind,
            level,
            recorder,
            elapsed_s=elapsed_s,
            client_cpu_s=used_s,
            server=between(before, after, recorder.total),
        )

    def _loop(self, kind: Kind, level: float, recorder: Recorder) -> Loop:
        if kind == "closed":
            return ClosedLoop(self.traffic, recorder, int(level))
        return OpenLoop(self.traffic, recorder, level)

    async def _wait(self, kind: Kind, level: float, recorder: Recorder) -> None:
        started_s = glanced_s = time.monotonic()
        seen, rate = 0, 0.0
        while (left_s := started_s + self.duration_s - time.monotonic()) > 0:
            await asyncio.sleep(min(_GLANCE_S, left_s))
            now_s, total = time.monotonic(), recorder.total
            rate = (total - seen) / max(now_s - glanced_s, 1e-9)
            share = min((now_s - started_s) / self.duration_s, 1.0)
            self.watch(Glance(kind, level, share, total, recorder.failures.total(), rate))
            glanced_s, seen = now_s, total
        self.watch(Glance(kind, level, 1.0, seen, recorder.failures.total(), rate))
