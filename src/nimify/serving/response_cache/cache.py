"""What is remembered: answers by key, as many as fit into so many bytes; the one unused longest makes room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from nimify.serving.engines.engine import Array

Answers = tuple[Array, ...]
"""One array per wanted output; nobody may write to them."""

_ENTRY_BYTES: Final = 512
"""What an entry takes beside its values, about: the key, its place in the table, and the objects of arrays."""
_ARRAY_BYTES: Final = 128
_ELEMENT_BYTES: Final = 48
"""What a string takes beside its own bytes: its object, and the pointer to it."""


class ResponseCache:
    """Answers, the least recently used first.

    Args:
        size_bytes: Most that all entries may take together; an answer that is larger alone is not kept.
    """

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.used_bytes = 0
        self.evictions = 0
        self._entries: OrderedDict[bytes, tuple[Answers, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> Answers | None:
        """What was kept under a key; `None` when nothing is, or is no longer."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: bytes, answers: Answers) -> None:
        """Keep an answer, in the place of those unused longest."""
        size = entry_bytes(answers)
        if size > self.size_bytes:
            return
        before = self._entries.pop(key, None)
        if before is not None:
            self.used_bytes -= before[1]
        while self.used_bytes + size > self.size_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.used_bytes -= freed
            self.evictions += 1
        self._entries[key] = answers, size
        self.used_bytes += size


def entry_bytes(answers: Sequence[Array]) -> int:
    """What it takes to keep an answer, in bytes."""
    return _ENTRY_BYTES + sum([_ARRAY_BYTES + _value_bytes(array) for array in answers])


def kept(answers: Sequence[Array]) -> Answers:
    """An answer to keep: copies, because an answer may be a part of a batch's, and whoever gets it may change it."""
    copies = tuple([np.array(array, order="C") for array in answers])
    for copy in copies:
        copy.flags.writeable = False
    return copies


def _value_bytes(array: Array) -> int:
    if array.dtype.hasobject:
        return sum([_ELEMENT_BYTES + len(element) for element in array.flat])
    return array.nbytes
