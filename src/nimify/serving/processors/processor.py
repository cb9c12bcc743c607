"""The contract of a processor: code before or after the engine.

A processor is a plain callable from tensors to tensors that also maps the signature, so that `/v1/infer` and
openapi.json describe what the user really sends and gets, while `/v2` stays raw. It is found as an entry point of
`nimify.processors`, or as `file.py:name` in the bundle. The entry point is a factory: called with the options of the
step as keyword arguments, it returns the processor. See docs/extending/processors.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np

from nimify.tensors import TensorSpec

Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]
"""Named arrays of one request. Rows of a batch lie along the first axis, as in the model's signature."""

Specs = tuple[TensorSpec, ...]


class InvalidInput(ValueError):
    """A processor cannot take what the client sent; the message is shown to the client (HTTP 400)."""


class Processor(Protocol):
    """Maps tensors, and says how it maps the signature."""

    def outer(self, inner: Specs) -> Specs:
        """What the client sees, given what lies on the engine's side of this step.

        For a step before the engine `inner` are the tensors that it must produce, for a step after the engine the
        tensors that it takes; both ways the result is what its other side looks like. It is called before the
        first request, so a processor may keep what it learns here (datatypes, the name of the only tensor).

        Raises:
            ConfigError: The step does not fit these tensors; names the option to change.
        """
        ...

    def __call__(self, tensors: Tensors) -> Tensors:
        """Process the tensors of one request (not of a merged batch).

        Raises:
            InvalidInput: The values cannot be processed; the message is for the client.
        """
        ...


class ProcessorFactory(Protocol):
    """What an entry point of `nimify.processors` is: a class or function called with the options of a step."""

    def __call__(self, **options: Any) -> Processor:
        """Make the processor.

        Options that name files arrive as absolute paths when the factory lists them in `file_options`.

        Raises:
            ConfigError: An option is wrong; names it.
            TypeError: An option is unknown or missing; nimify turns it into a `ConfigError`.
        """
        ...


def place(processor: object) -> Literal["before", "after"] | None:
    """Where a processor must stand (its attribute `place`); `None` when it works on either side of the engine."""
    side: Literal["before", "after"] | None = getattr(processor, "place", None)
    return side


Options = Mapping[str, Any]
