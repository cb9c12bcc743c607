"""Against the noise: the best candidate and what it replaces are measured again, and a gain must exceed the spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from nimify.tuning.candidate import Candidate
from nimify.tuning.rates import RESOLUTION

Sample = Callable[[Candidate, float], float]
"""Serves a candidate once more: the highest rate that keeps the objective now, found from a guess; 0 for none."""

LEAST_GAIN: Final = RESOLUTION
"""Rates are found no finer than this."""


@dataclass(frozen=True, slots=True)
class Samples:
    """The rates of one candidate.

    Attributes:
        rates: Requests in a second that kept the objective, each time.
    """

    rates: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.rates)

    @property
    def spread(self) -> float:
        """From the lowest to the highest."""
        return max(self.rates) - min(self.rates)

    def clearly_exceed(self, other: Samples) -> bool:
        """Whether the gain is beyond both spreads, and more than can be told apart at all."""
        noise = max(self.spread, other.spread, LEAST_GAIN * other.median)
        return self.median - other.median > noise

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"rates": list(self.rates), "median": self.median, "spread": self.spread}


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that is worth changing.

    Attributes:
        setting: Its name in nimify.yaml.
        before: What it was.
        after: What it should be.
        gained: The rates with it.
        otherwise: The rates without it, all else being the same.
    """

    setting: str
    before: int
    after: int
    gained: Samples
    otherwise: Samples

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "setting": self.setting,
            "before": self.before,
            "after": self.after,
            "with": self.gained.to_dict(),
            "without": self.otherwise.to_dict(),
        }


class Repeats:
    """Repeated measurements, made when they are first asked for.

    Args:
        sample: Makes one.
        count: How many of each candidate.
    """

    def __init__(self, sample: Sample, count: int) -> None:
        self._sample = sample
        self._count = count
        self._samples: dict[Candidate, Samples] = {}

    @property
    def all(self) -> dict[Candidate, Samples]:
        """Everything that was measured often enough."""
        return dict(self._samples)

    def alternate(self, guesses: dict[Candidate, float]) -> None:
        """Measure several in turns, so that what changes on the machine meanwhile changes for all of them."""
        rates: dict[Candidate, list[float]] = {candidate: [] for candidate in guesses}
        for _ in range(self._count):
            for candidate, guess in guesses.items():
                rates[candidate].append(self._sample(candidate, guess))
        self._samples |= {candidate: Samples(tuple(found)) for candidate, found in rates.items()}

    def of(self, candidate: Candidate, guess: float) -> Samples:
        """Those of one candidate."""
        if candidate not in self._samples:
            self.alternate({candidate: guess})
        return self._samples[candidate]

    def worth_changing(self, start: Candidate, best: Candidate, guess: float) -> tuple[Change, ...]:
        """The changes from `start` to `best` without which the service does clearly worse.

        Each is taken back on its own, and stays so when that costs nothing that can be told from noise.
        """
        chosen, changes = best, list[Change]()
        for setting in reversed(best.changed_from(start)):
            without = chosen.having(setting, start.value(setting))
            gained, otherwise = self.of(chosen, guess), self.of(without, guess)
            if gained.clearly_exceed(otherwise):
                changes.append(Change(setting, start.value(setting), best.value(setting), gained, otherwise))
            else:
                chosen = without
                changes = [change for change in changes if change.setting in chosen.changed_from(start)]
        if not changes or not self.of(chosen, guess).clearly_exceed(self.of(start, guess)):
            return ()
        return tuple(changes)
