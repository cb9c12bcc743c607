"""What monitoring must know of a service, taken from its plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nimify.artifacts.monitoring.promql import duration, equals
from nimify.planning.plan import ServicePlan

RUNBOOKS: Final = "monitoring/runbooks"
"""Where the runbooks lie in the bundle."""


@dataclass(frozen=True, slots=True)
class WatchedService:
    """A service as its monitoring sees it.

    Attributes:
        name: Its name, which is the `job` of its targets.
        model_digest: The digest of the model that it is to serve.
        availability: Share of requests that are to be answered.
        latency_s: Seconds in which an answer is to be there.
        latency_share: Share of answers that are to be there in that time.
        max_batch_size: Most rows in one run; 0 when requests are not merged.
        memory_limit_bytes: Memory beyond which a replica is ended; `None` where its own figures do not tell what it
            uses, as Triton is another process.
        runbooks_url: Where the runbooks can be read; their folder in the bundle when nobody said.
        speed: How many times faster than in operation everything is watched: 1 but for trials, where an hour's window
            cannot be waited for.
    """

    name: str
    model_digest: str
    availability: float
    latency_s: float
    latency_share: float
    max_batch_size: int
    memory_limit_bytes: int | None
    runbooks_url: str = RUNBOOKS
    speed: float = 1.0

    @classmethod
    def of(cls, plan: ServicePlan, *, speed: float = 1.0) -> WatchedService:
        """The service of a plan."""
        embedded = plan.value("deployment.family") == "cpu"
        return cls(
            name=plan.service.name,
            model_digest=plan.service.model_digest,
            availability=plan.value("objectives.availability"),
            latency_s=plan.value("objectives.latency_s"),
            latency_share=plan.value("objectives.latency_share"),
            max_batch_size=plan.service.max_batch_size,
            memory_limit_bytes=plan.value("deployment.memory_limit") if embedded else None,
            runbooks_url=(plan.value("objectives.runbooks_url") or RUNBOOKS).rstrip("/"),
            speed=speed,
        )

    @property
    def job(self) -> str:
        """The matcher that every series of this service meets."""
        return equals("job", self.name)

    def time(self, seconds: float) -> str:
        """A duration as PromQL, at the speed at which the service is watched."""
        return duration(seconds / self.speed)
