"""The contract of an engine: what executes a model.

An engine is an entry point of `nimify.engines`: a class with the classmethod `load`. It knows tensors and nothing
else: no protocol, no batching, no metrics. Those wrap it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nimify.tensors import Signature

Array = np.ndarray[Any, Any]
"""A C-contiguous array of a datatype's `storage`."""


class EngineRefused(Exception):
    """The engine could not run these inputs.

    The text is the engine's own: it is for the log, never for a client, because engines put paths and addresses in it.
    """


class Engine(Protocol):
    """Executes one model."""

    @property
    def signature(self) -> Signature:
        """What the loaded model takes and gives, as the engine reports it."""
        ...

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run the model once.

        Called from one thread at a time. Inputs are complete and of the right datatype and rank.

        Args:
            inputs: One array per input of the signature.
            outputs: Names of the outputs that are wanted.

        Returns:
            One array per wanted output, in that order.

        Raises:
            EngineRefused: The model cannot process these values or shapes.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds; it is not run afterwards."""
        ...


class EngineType(Protocol):
    """What an entry point of `nimify.engines` is: usually the class itself."""

    def load(self, model_file: Path, *, threads: int) -> Engine:
        """Load a model file.

        Args:
            model_file: What to open; its external data lies beside it and was checked before.
            threads: Threads inside the engine, at least 1.

        Raises:
            ModelError: The engine cannot load it; the message says why, in one line, without paths.
        """
        ...
