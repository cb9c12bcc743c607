"""Trials as the rows of a table."""

from __future__ import annotations

from typing import Final

from nimify.loadtest.objective import Objective
from nimify.quantities import human_rate, human_seconds
from nimify.tuning.candidate import Candidate
from nimify.tuning.trial import Trial

_NOTHING: Final = "-"


def head(objective: Objective) -> tuple[str, ...]:
    """The columns."""
    return ("batch", "delay", "threads", "instances", "requests/s", objective.quantile, "rows a run", "")


def row(trial: Trial, objective: Objective) -> tuple[str, ...]:
    """One trial, in the columns of `head`; a dash stands for what is not known."""
    candidate, point = trial.candidate, trial.point
    rate = latency = rows = _NOTHING
    if point is not None:
        rate = human_rate(point.level)
        latency = human_seconds(point.latencies_s[objective.quantile])
        if point.server is not None and point.server.mean_batch is not None:
            rows = f"{point.server.mean_batch:.1f}"
    return (
        str(candidate.max_batch_size),
        human_seconds(candidate.max_queue_delay_us / 1e6) if candidate.max_queue_delay_us else "0",
        str(candidate.threads) if candidate.threads else "its share",
        str(candidate.instances),
        rate,
        latency,
        rows,
        trial.verdict,
    )


def in_words(candidate: Candidate) -> str:
    """The settings on one line."""
    delay = human_seconds(candidate.max_queue_delay_us / 1e6) if candidate.max_queue_delay_us else "no"
    threads = f"{candidate.threads} threads" if candidate.threads else "its share of threads"
    return f"batch {candidate.max_batch_size}, {delay} delay, {candidate.instances} x {threads}"
