"""What makes two requests equal: the model, the exact inputs, and the outputs that are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import numpy as np

from nimify.serving.engines.engine import Array

_ELEMENT_COST: Final = 128
"""What a string costs to hash beside its content, in bytes of a plain tensor."""


class RequestKeys:
    """Makes the keys of one model's requests.

    A key is a SHA-256: who can choose what is sent must not be able to make two requests look equal. Every part goes in
    behind its length, so that no two requests are the same row of bytes.

    Args:
        model_digest: Of the model's files.
    """

    def __init__(self, model_digest: str) -> None:
        self._start = hashlib.sha256(_part(model_digest.encode()))

    def key(self, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> bytes:
        """The key of a request: the same for the same values however they were sent, and in whatever order."""
        digest = self._start.copy()
        for name in sorted(inputs):
            array = inputs[name]
            digest.update(_part(repr((name, array.dtype.str, array.shape)).encode()))
            if array.dtype.hasobject:
                digest.update(b"".join([_string(element) for element in array.flat]))
            else:
                digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        digest.update(_part(repr(outputs).encode()))
        return digest.digest()


def hashing_cost(inputs: Mapping[str, Array]) -> int:
    """How much work a key is, as the bytes of a plain tensor that is as much."""
    return sum([array.size * _ELEMENT_COST if array.dtype.hasobject else array.nbytes for array in inputs.values()])


def _part(content: bytes) -> bytes:
    return len(content).to_bytes(8, "big") + content


def _string(element: bytes | str) -> bytes:
    # The engine is given the same text for both, but that is its affair.
    return b"t" + _part(element.encode()) if isinstance(element, str) else b"b" + _part(element)
