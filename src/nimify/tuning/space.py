"""Where tuning looks: the values of each setting that are worth trying on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nimify.tuning.candidate import BATCH, DELAY, INSTANCES, THREADS, Candidate

MOST_ROWS: Final = 1024
_GROWTH: Final = 4
"""How far beyond the planned batch to look: more than that would be another estimate of memory altogether."""
_LEAST_LARGEST: Final = 64
_DELAYS_US: Final = (0, 100, 300, 1_000, 3_000, 10_000)
_DELAY_SHARE: Final = 4
"""A delay of more than this part of the objective would leave too little of it for the work."""


@dataclass(frozen=True, slots=True)
class Space:
    """The values to choose from.

    Attributes:
        settings: The settings that are swept, in order.
        cpus: CPUs that the service may use.
        latency_s: What the objective allows.
        least_rows: Rows of the largest request that is sent: a smaller batch would refuse it.
        planned_rows: The batch that the bundle has now.
    """

    settings: tuple[str, ...]
    cpus: int
    latency_s: float
    least_rows: int
    planned_rows: int

    def neighbour(self, candidate: Candidate, setting: str, step: int) -> Candidate | None:
        """The candidate so many values further up or down; `None` when there are no more."""
        value = self._effective(candidate, setting)
        values = self._values(setting, candidate)
        # Where the value is none of ours, the first step leads to the nearest in its direction.
        above = [other for other in values if other > value]
        below = [other for other in reversed(values) if other < value]
        found = above[step - 1 : step] if step > 0 else below[-step - 1 : -step]
        return candidate.having(setting, found[0]) if found else None

    def _effective(self, candidate: Candidate, setting: str) -> int:
        if setting == THREADS and not candidate.threads:
            return max(1, self.cpus // candidate.instances)
        return candidate.value(setting)

    def _values(self, setting: str, candidate: Candidate) -> list[int]:
        if setting == BATCH:
            largest = min(max(_GROWTH * self.planned_rows, _LEAST_LARGEST), MOST_ROWS)
            return [rows for rows in _doublings(largest) if rows >= self.least_rows]
        if setting == DELAY:
            longest = self.latency_s * 1e6 / _DELAY_SHARE
            return [delay for delay in _DELAYS_US if delay <= longest] if candidate.max_batch_size > 1 else [0]
        if setting in {THREADS, INSTANCES}:
            return sorted({*_doublings(self.cpus), self.cpus})
        raise KeyError(setting)


def _doublings(largest: int) -> list[int]:
    return [1 << power for power in range(largest.bit_length()) if 1 << power <= largest]
