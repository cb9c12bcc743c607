"""Fuzzing for a time: rounds of cases, each round from a seed of its own, until one fails or the time is over.

Hypothesis draws the cases and makes one that fails as small as it can. That one is saved, so that it can be sent again
without drawing anything: `make fuzz FUZZ_REPLAY=FILE`.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

FAILURES: Final = Path(".fuzz")
ROUND: Final = 100
"""Cases of one round; small, because the clock is looked at between rounds."""


@dataclass(frozen=True)
class Case:
    """What a client sends.

    Attributes:
        surface: What it attacks; names who judges the answer.
        pieces: Each is sent by itself, in this order.
    """

    surface: str
    pieces: tuple[bytes, ...]

    def save(self, folder: Path) -> Path:
        """Write it down; the file's name follows from its content."""
        text = json.dumps({"surface": self.surface, "pieces": [piece.hex() for piece in self.pieces]}, indent=1)
        folder.mkdir(exist_ok=True)
        file = folder / f"{self.surface}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
        file.write_text(text + "\n")
        return file

    @classmethod
    def load(cls, file: Path) -> Case:
        """Read one that was saved."""
        document = json.loads(file.read_text())
        return cls(document["surface"], tuple(bytes.fromhex(piece) for piece in document["pieces"]))


@dataclass(frozen=True)
class Campaign:
    """How long to fuzz, and from which seed.

    Attributes:
        seconds: For each surface.
        seed: The same seed draws the same cases in the same order.
        failures: The folder for cases that fail.
    """

    seconds: float
    seed: int
    failures: Path = FAILURES

    @classmethod
    def from_environment(cls, *, surfaces: int) -> Campaign:
        """`FUZZ_SECONDS` in all, 60 by default, shared out; `FUZZ_SEED`, or one of the clock."""
        seed = os.environ.get("FUZZ_SEED") or str(time.time_ns() % 10**9)
        return cls(float(os.environ.get("FUZZ_SECONDS", "60")) / surfaces, int(seed))

    def run(self, cases: st.SearchStrategy[Case], judge: Callable[[Case], None]) -> int:
        """Judge case after case; how many there were.

        Raises:
            CaseFailed: One failed; names its file.
        """
        end_s, rounds = time.monotonic() + self.seconds, 0
        while time.monotonic() < end_s:
            self._round(cases, judge, seed=self.seed + rounds * 10**9)
            rounds += 1
        return rounds * ROUND

    def _round(self, cases: st.SearchStrategy[Case], judge: Callable[[Case], None], *, seed: int) -> None:
        judged: list[Case] = []

        @hypothesis.seed(seed)
        @settings(
            max_examples=ROUND,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @given(cases)
        def attack(case: Case) -> None:
            judged[:] = [case]
            judge(case)

        try:
            attack()
        except Exception as error:  # whatever it is: the last case that was judged is the smallest that fails
            raise CaseFailed(judged[-1].save(self.failures), self.seed, error) from error


class CaseFailed(AssertionError):
    """A case whose answer is not as it should be."""

    def __init__(self, file: Path, seed: int, cause: Any) -> None:
        super().__init__(
            f"{cause}\nSend it again: make fuzz FUZZ_REPLAY={file}\nDraw it again: make fuzz FUZZ_SEED={seed}"
        )
