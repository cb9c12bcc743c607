"""The search: one setting after the other, each as far as it gets better, until nothing does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nimify.tuning.budget import OutOfTime
from nimify.tuning.candidate import BATCH, Candidate
from nimify.tuning.space import Space
from nimify.tuning.trial import Trial

Examine = Callable[[Candidate, float], Trial]
"""Serves a candidate and measures it, from a rate on: one that does not keep that rate is passed over at once."""

BETTER: Final = 1.05
"""How much more a candidate must do to be gone on from; whether that is more than noise is found out at the end."""
_ROUNDS: Final = 2
_STEPS: Final = {BATCH: (-2, 2, -1, 1)}
"""Values further down or up, each tried for as long as it helps: a batch by factors of 4 first, and then of 2."""
_USUAL_STEPS: Final = (1, -1)


def searched(start: Trial, space: Space, examine: Examine) -> tuple[Trial, bool]:
    """The best that is found.

    Args:
        start: The bundle as it is.
        space: Where to look.
        examine: Measures a candidate.

    Returns:
        The best trial, and whether the search came to its end before the time did.
    """
    seen = {start.candidate}
    best = start
    try:
        for _ in range(_ROUNDS):
            before = best
            for setting in space.settings:
                for step in _STEPS.get(setting, _USUAL_STEPS):
                    best = _walked(best, setting, step, space, seen, examine)
            if best is before:
                break
    except _Ended as ended:
        return ended.best, False
    return best, True


class _Ended(Exception):
    def __init__(self, best: Trial) -> None:
        super().__init__()
        self.best = best


def _walked(best: Trial, setting: str, step: int, space: Space, seen: set[Candidate], examine: Examine) -> Trial:
    """As far along one setting as it gets better; what was passed over once is not looked at again."""
    while (candidate := space.neighbour(best.candidate, setting, step)) is not None and candidate not in seen:
        seen.add(candidate)
        try:
            trial = examine(candidate, best.rate * BETTER)
        except OutOfTime:
            raise _Ended(best) from None
        if trial.rate <= best.rate:
            break
        best = trial
    return best
