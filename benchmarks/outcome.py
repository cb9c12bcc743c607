"""What a load generator says of one run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of a load generator.

    Attributes:
        requests: How many were answered.
        duration_s: In how long.
        p50_ms: Half of them were answered in this time.
        p99_ms: 99 of 100 were.
        errors: Requests without an answer, or with one that says that it failed.
    """

    requests: int
    duration_s: float
    p50_ms: float
    p99_ms: float
    errors: int
