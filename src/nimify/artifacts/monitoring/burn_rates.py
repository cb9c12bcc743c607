"""How fast an error budget may be spent: the windows and factors of Google's SRE workbook, chapter 5.

A budget that is spent at factor 1 lasts exactly the 30 days that it is for. Each pair of windows must agree: the long
one shows that a good part of the budget is gone, the short one that it is still being spent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MINUTE_S: Final = 60.0
HOUR_S: Final = 60 * MINUTE_S
DAY_S: Final = 24 * HOUR_S


@dataclass(frozen=True, slots=True)
class BurnRate:
    """One pair of windows.

    Attributes:
        factor: How many times too fast the budget is spent.
        long_s: The window that the spending is judged over.
        short_s: The window in which it must still go on.
        spent: What part of the budget is gone when the alert fires.
        severity: Whether somebody is woken (`critical`) or has a look in the morning (`warning`).
    """

    factor: float
    long_s: float
    short_s: float
    spent: str
    severity: str


BURN_RATES: Final = (
    BurnRate(14.4, 1 * HOUR_S, 5 * MINUTE_S, "2%", "critical"),
    BurnRate(6.0, 6 * HOUR_S, 30 * MINUTE_S, "5%", "critical"),
    BurnRate(3.0, 1 * DAY_S, 2 * HOUR_S, "10%", "warning"),
    BurnRate(1.0, 3 * DAY_S, 6 * HOUR_S, "10%", "warning"),
)
WINDOWS_S: Final = tuple(sorted({window for rate in BURN_RATES for window in (rate.long_s, rate.short_s)}))
"""Every window that a ratio is recorded over."""


def reachable(budget: float) -> tuple[BurnRate, ...]:
    """The rates at which a budget can be spent at all: with a budget of 10 %, nothing fails 14.4 times as often."""
    return tuple(rate for rate in BURN_RATES if rate.factor * budget < 1)
