"""What there is to measure under load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.exchange import Protocol

RAW: Final = "raw loop"
"""The contestant that is no server: ONNX Runtime in a loop, or in a process that does nothing else."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing to measure.

    Attributes:
        model: The model's name.
        contestant: The server's name, or `RAW` for the ceiling.
        protocol: What it is asked in; none for the ceiling.
        connections: How many ask.
    """

    model: str
    contestant: str
    protocol: Protocol | None
    connections: int
