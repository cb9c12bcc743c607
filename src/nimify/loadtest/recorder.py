"""What happened to each request of one measurement."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from typing import Final

MAX_KINDS: Final = 32
"""More kinds of failure than that are counted together."""


class Recorder:
    """Counts answers and failures; the loops tell it of every request that was sent in the measured time.

    Attributes:
        latencies_ns: Of every request that was answered right, in the order of their answers.
        failures: How often each kind of failure happened, e.g. `503`, `UNAVAILABLE` or `connection lost`.
        last_ns: When the last of them ended, by `time.perf_counter_ns`.
    """

    def __init__(self) -> None:
        self.latencies_ns = array("q")
        self.failures: Counter[str] = Counter()
        self.last_ns = 0

    def answered(self, due_ns: int) -> None:
        """A request was answered right."""
        now_ns = time.perf_counter_ns()
        self.last_ns = now_ns
        self.latencies_ns.append(now_ns - due_ns)

    def failed(self, kind: str) -> None:
        """A request was not answered, or not right."""
        self.last_ns = time.perf_counter_ns()
        self.failures[kind if kind in self.failures or len(self.failures) < MAX_KINDS else "other"] += 1

    @property
    def total(self) -> int:
        """Requests that ended."""
        return len(self.latencies_ns) + self.failures.total()
