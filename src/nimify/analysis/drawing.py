"""Draws inputs from a signature with a fixed seed, for trial runs and golden requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np

from nimify.tensors import Signature, TensorSpec, fp32_to_bf16

Array = np.ndarray[Any, Any]

_LENGTHS: Final = (8, 16, 32, 64, 128, 224, 1)
"""Lengths for free axes behind the first, in the order in which they are tried."""
_INTEGER_BOUNDS: Final = (1000, 10, 2, 1)
"""Integers are drawn below these, in this order: most are ids, and tables differ in length."""
_MAX_ELEMENTS: Final = 1 << 28
_WORDS: Final = (b"alpha", b"beta", b"gamma", b"delta", b"epsilon", b"zeta", b"eta", b"theta")


@dataclass(frozen=True, slots=True)
class Draw:
    """How inputs are drawn.

    Attributes:
        seed: Of the random numbers; together with the signature and this object it decides every value.
        length: For free axes behind the first.
        integer_bound: Integers lie below this; masks are 0 or 1 in any case.
    """

    seed: int
    length: int = _LENGTHS[0]
    integer_bound: int = _INTEGER_BOUNDS[0]

    def inputs(self, signature: Signature, *, rows: int) -> dict[str, Array]:
        """One array per input.

        Args:
            signature: What the model takes.
            rows: Length of a free first axis; axes with the same name get the same length.
        """
        first_names = {spec.shape[0] for spec in signature.inputs if spec.shape and isinstance(spec.shape[0], str)}
        # A generator of its own per input: further inputs do not change the values of the first ones.
        return {
            spec.name: self._tensor(
                spec, self._shape(spec, first_names, rows), np.random.default_rng([self.seed, index])
            )
            for index, spec in enumerate(signature.inputs)
        }

    def _shape(self, spec: TensorSpec, first_names: set[Any], rows: int) -> tuple[int, ...]:
        return tuple(
            dim if isinstance(dim, int) else rows if axis == 0 or dim in first_names else self.length
            for axis, dim in enumerate(spec.shape)
        )

    def _tensor(self, spec: TensorSpec, shape: tuple[int, ...], random: np.random.Generator) -> Array:
        datatype = spec.datatype
        if prod(shape) > _MAX_ELEMENTS:
            raise MemoryError(f"input '{spec.name}' would have {prod(shape)} elements")
        if datatype.name == "BYTES":
            words = np.empty(prod(shape), dtype=object)
            words[:] = [_WORDS[choice] for choice in random.integers(len(_WORDS), size=prod(shape))]
            return words.reshape(shape)
        if datatype.name == "BF16":
            return fp32_to_bf16(random.standard_normal(shape, dtype=np.float32))
        if datatype.is_float:
            return np.asarray(random.standard_normal(shape), dtype=datatype.storage)
        if datatype.name == "BOOL":
            return np.asarray(random.integers(2, size=shape), dtype=bool)
        bound = min(self.integer_bound, 2 if "mask" in spec.name.lower() else self.integer_bound)
        bound = min(bound, int(np.iinfo(datatype.storage).max))
        return np.asarray(random.integers(bound, size=shape), dtype=datatype.storage)


def draws(signature: Signature, seed: int) -> Iterator[Draw]:
    """The draws that are worth trying, the best first."""
    has_free_axis = any(not isinstance(dim, int) for spec in signature.inputs for dim in spec.shape[1:])
    has_integers = any(spec.datatype.is_integer for spec in signature.inputs)
    for length in _LENGTHS if has_free_axis else _LENGTHS[:1]:
        for bound in _INTEGER_BOUNDS if has_integers else _INTEGER_BOUNDS[:1]:
            yield Draw(seed, length, bound)
