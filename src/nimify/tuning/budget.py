"""How long tuning may take."""

from __future__ import annotations

import time


class OutOfTime(Exception):
    """The time is over; what was measured so far stands."""


class Budget:
    """Time that is left, from now on.

    Args:
        total_s: Seconds in all.
    """

    def __init__(self, total_s: float) -> None:
        self._total_s = total_s
        self._started_s = time.monotonic()
        self._share = 1.0

    @property
    def used_s(self) -> float:
        """Seconds that have passed."""
        return time.monotonic() - self._started_s

    def allow(self, share: float) -> None:
        """Allow this part of the whole, counted from the start, until another one is allowed."""
        self._share = share

    def check(self) -> None:
        """Go on.

        Raises:
            OutOfTime: What is allowed is used up.
        """
        if self.used_s > self._total_s * self._share:
            raise OutOfTime
