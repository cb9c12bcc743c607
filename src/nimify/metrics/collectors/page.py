"""What collectors add to `/v1/metrics`."""

from __future__ import annotations

from collections.abc import Sequence

from nimify.metrics.catalog import COLLECTOR_UP
from nimify.metrics.collectors.board import Board
from nimify.metrics.exposition import head, sample_line


class CollectedPage:
    """Reads what collectors left; asks none of them.

    Args:
        names: Of the collectors, in the order of their places.
        board: Where they leave it.
    """

    def __init__(self, names: Sequence[str], board: Board) -> None:
        self._names = tuple(names)
        self._board = board

    def text(self) -> str:
        """Which of them work, and what those measured last."""
        if not self._names:
            return ""
        texts = [self._board.get(place) for place in range(len(self._names))]
        states = [
            sample_line(COLLECTOR_UP, (name,), float(text is not None))
            for name, text in zip(self._names, texts, strict=True)
        ]
        lines = "".join(f"{line}\n" for line in (*head(COLLECTOR_UP), *states))
        return lines + b"".join(text for text in texts if text).decode()
