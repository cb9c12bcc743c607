"""How long work reports: core prints nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Progress(Protocol):
    """Opens a report of one piece of work."""

    def __call__(self, label: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Begin.

        Args:
            label: What is being done, e.g. `Reading digits.onnx`.
            total: How many bytes it will take.

        Returns:
            A context whose value is called with each further number of bytes.
        """
        ...


def silent(label: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    """Report to nobody."""
    return nullcontext(lambda count: None)
