"""`TuningReport`: what was tried, what came out, and what is worth changing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nimify.loadtest.objective import Objective
from nimify.quantities import human_rate, human_seconds
from nimify.tuning.candidate import Candidate
from nimify.tuning.repeats import Change, Samples
from nimify.tuning.trial import Trial


@dataclass(frozen=True, slots=True)
class TuningReport:
    """What came out.

    Attributes:
        objective: What had to be kept.
        protocol: How requests travelled: `json`, `binary` or `grpc`.
        inputs: What was sent, in words.
        machine: The processor.
        cpus: CPUs that the service could use.
        kept: Settings that were left alone, and why.
        start: The bundle as it was.
        trials: Everything that was tried, in order; the bundle as it was comes first.
        repeated: The rates of what was measured again; empty when nothing better was found.
        changes: What is worth changing.
        ended: Why it ended before everything was tried; empty when it did not.
        took_s: How long all of it took.
    """

    objective: Objective
    protocol: str
    inputs: str
    machine: str
    cpus: int
    kept: Mapping[str, str]
    start: Candidate
    trials: tuple[Trial, ...]
    repeated: Mapping[Candidate, Samples]
    changes: tuple[Change, ...]
    ended: str
    took_s: float

    @property
    def chosen(self) -> Candidate:
        """How the bundle should be served."""
        chosen = self.start
        for change in self.changes:
            chosen = chosen.having(change.setting, change.after)
        return chosen

    @property
    def keeps(self) -> bool:
        """Whether anything that was tried keeps the objective."""
        return any(trial.rate for trial in self.trials)

    @property
    def wanted(self) -> str:
        """The objective in words: `p99 within 20 ms`."""
        return f"{self.objective.quantile} within {human_seconds(self.objective.latency_s)}"

    def reason(self, change: Change) -> str:
        """Why a change is worth making, in a whole sentence."""
        gained, otherwise = change.gained, change.otherwise
        before = f"none with {change.before}" if not otherwise.median else (
            f"{human_rate(otherwise.median)} with {change.before}"
        )  # fmt: skip
        return (
            f"`nimify tune` measured {human_rate(gained.median)} requests in a second with {self.wanted}, against "
            f"{before}: medians of {len(gained.rates)}, whose spread is "
            f"{human_rate(max(gained.spread, otherwise.spread))}, on {self.machine} with {self.cpus} CPUs."
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "objective": {"quantile": self.objective.quantile, "latency_s": self.objective.latency_s},
            "protocol": self.protocol,
            "inputs": self.inputs,
            "machine": self.machine,
            "cpus": self.cpus,
            "kept": dict(self.kept),
            "start": self.start.to_dict(),
            "trials": [trial.to_dict() for trial in self.trials],
            "repeated": [
                {"settings": candidate.to_dict(), **samples.to_dict()} for candidate, samples in self.repeated.items()
            ],
            "chosen": self.chosen.to_dict(),
            "changes": [{**change.to_dict(), "reason": self.reason(change)} for change in self.changes],
            "ended": self.ended,
            "took_s": self.took_s,
        }
