"""What a plan says of a collector."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

INTERVAL_S: Final = 10.0
"""From the end of one collection to the next, when nothing else was asked for."""


@dataclass(frozen=True, slots=True)
class CollectorStep:
    """One collector of a service.

    Attributes:
        use: Name of a collector (an entry point of `nimify.collectors`), or `file.py:name` for the owner's own,
            where `file.py` is relative to the bundle.
        options: Keyword arguments for it; paths among them are relative to the bundle.
        interval_s: Seconds from the end of one collection to the next.
    """

    use: str
    options: Mapping[str, Any] = field(default_factory=dict)
    interval_s: float = INTERVAL_S

    def __post_init__(self) -> None:
        """Refuse an interval in which nothing else would ever run."""
        if not 0 < self.interval_s < threading.TIMEOUT_MAX:
            raise ValueError(f"{self.interval_s} is no interval")
