"""`Trial`: what came out for one candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nimify.loadtest.point import LoadPoint
from nimify.tuning.candidate import Candidate


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate that was served and measured.

    Attributes:
        candidate: Its settings.
        point: The measurement at the highest rate that kept the objective; `None` when it was passed over.
        verdict: What that means, in a few words.
    """

    candidate: Candidate
    point: LoadPoint | None
    verdict: str

    @property
    def rate(self) -> float:
        """Requests in a second that kept the objective; 0 when it was passed over."""
        return 0.0 if self.point is None else self.point.level

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "settings": self.candidate.to_dict(),
            "rate": self.rate or None,
            "point": None if self.point is None else self.point.to_dict(),
            "verdict": self.verdict,
        }
