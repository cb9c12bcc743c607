"""How much of what costs us and nothing to the peer a connection may do: floods end, honest clients notice nothing.

One allowance for each kind of nuisance: streams that are opened and reset (CVE-2023-44487), also when the peer makes us
reset them (CVE-2025-8671), pings and settings that must be acknowledged (CVE-2019-9512, -9515), and frames that carry
nothing (CVE-2019-9511, -9518).
"""

from __future__ import annotations

from typing import Final


class Allowance:
    """A number that falls with every use and comes back with time, and with honest work.

    Args:
        burst: How often it may be used at once.
        per_s: How much comes back in a second.
    """

    __slots__ = ("_burst", "_left", "_per_s", "_seen_s")

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst = burst
        self._left = burst
        self._per_s = per_s
        self._seen_s = 0.0

    def use(self, now_s: float) -> bool:
        """Use it once; false when nothing is left."""
        if self._left < 1.0:
            self._left = min(self._burst, self._left + (now_s - self._seen_s) * self._per_s)
            self._seen_s = now_s
            if self._left < 1.0:
                return False
        elif self._left == self._burst:
            self._seen_s = now_s
        self._left -= 1.0
        return True

    def earn(self, amount: float) -> None:
        """Give back for honest work."""
        self._left = min(self._burst, self._left + amount)


class Allowances:
    """Those of one connection."""

    __slots__ = ("control", "empty", "pings", "resets", "settings")

    RESETS: Final = (500.0, 100.0)
    """Streams that end before they were answered. A client may give up on all of its streams, twice over."""
    PINGS: Final = (100.0, 10.0)
    """An answer gives one back: clients that measure bandwidth ping in the rhythm of what they receive."""
    SETTINGS: Final = (20.0, 1.0)
    EMPTY: Final = (100.0, 10.0)
    """Frames of DATA or CONTINUATION without content that end nothing."""
    CONTROL: Final = (2000.0, 200.0)
    """WINDOW_UPDATE, PRIORITY and unknown frames; each frame of DATA, in either direction, gives some back."""

    def __init__(self) -> None:
        self.resets = Allowance(*self.RESETS)
        self.pings = Allowance(*self.PINGS)
        self.settings = Allowance(*self.SETTINGS)
        self.empty = Allowance(*self.EMPTY)
        self.control = Allowance(*self.CONTROL)
