"""One measurement: how much load there was, and how the service did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from nimify.loadtest.recorder import Recorder

Kind = Literal["closed", "open"]
QUANTILES: Final[Mapping[str, float]] = {
    "p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "max": 1.0,
}  # fmt: skip
"""The latencies that are reported, by the name that an objective uses."""
BUSY: Final = 0.9
"""Share of one CPU from which on the load generator, one thread, may be what limits the load."""


@dataclass(frozen=True, slots=True)
class ServerUse:
    """What the service's own metrics say of the time of a measurement.

    Attributes:
        cpu_s_per_request: CPU seconds of the service for one request.
        memory_bytes: Its resident memory at the end.
        mean_batch: Rows in one run of the engine.
    """

    cpu_s_per_request: float | None = None
    memory_bytes: float | None = None
    mean_batch: float | None = None


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """What was measured under one load.

    Attributes:
        kind: `closed` or `open`; see `nimify.loadtest.loops`.
        level: Connections of a closed loop, or requests in a second of an open one.
        elapsed_s: How long it lasted, from the start to the last answer.
        requests: How many were sent, and answered or lost.
        failures: How many were not answered right, by what happened to them.
        latencies_s: Seconds from due to answered, by quantile; empty when nothing was answered.
        client_cpu: CPUs that the load generator took; see `BUSY`.
        server: What the service says of itself; `None` when it has no metrics.
    """

    kind: Kind
    level: float
    elapsed_s: float
    requests: int
    failures: Mapping[str, int]
    latencies_s: Mapping[str, float]
    client_cpu: float
    server: ServerUse | None = field(default=None)

    @classmethod
    def of(
        cls,
        kind: Kind,
        level: float,
        recorder: Recorder,
        elapsed_s: float,
        client_cpu_s: float,
        server: ServerUse | None,
    ) -> LoadPoint:
        """A measurement from what was recorded."""
        latencies = np.asarray(recorder.latencies_ns) / 1e9
        values: list[float] = np.quantile(latencies, list(QUANTILES.values())).tolist() if latencies.size else []
        return cls(
            kind=kind,
            level=level,
            elapsed_s=elapsed_s,
            requests=recorder.total,
            failures=dict(recorder.failures.most_common()),
            latencies_s=dict(zip(QUANTILES, values, strict=False)),
            client_cpu=client_cpu_s / elapsed_s,
            server=server,
        )

    @property
    def throughput(self) -> float:
        """Requests answered right, in a second."""
        return (self.requests - self.failed) / self.elapsed_s

    @property
    def failed(self) -> int:
        """Requests that were not answered right: with HTTP's 200, or gRPC's OK."""
        return sum(self.failures.values())

    @property
    def limited_by_client(self) -> bool:
        """Whether the load generator was so busy that the figures may be its own."""
        return self.client_cpu >= BUSY

    def to_dict(self) -> dict[str, Any]:
        """The measurement as plain data."""
        server = self.server
        return {
            "loop": self.kind,
            "connections" if self.kind == "closed" else "rate": self.level,
            "elapsed_s": self.elapsed_s,
            "requests": self.requests,
            "throughput": self.throughput,
            "failures": dict(self.failures),
            "latency_s": dict(self.latencies_s),
            "client_cpus": self.client_cpu,
            "limited_by_client": self.limited_by_client,
            "server": None
            if server is None
            else {
                "cpu_s_per_request": server.cpu_s_per_request,
                "memory_bytes": server.memory_bytes,
                "mean_batch": server.mean_batch,
            },
        }
