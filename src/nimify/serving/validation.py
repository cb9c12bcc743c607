"""Whether a request's tensors are what the model takes: names, datatypes, shapes and batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nimify.serving.engines.engine import Array
from nimify.serving.faults import invalid
from nimify.serving.json_tensors import quoted
from nimify.tensors import Datatype, TensorSpec


class InputContract:
    """What the inputs of a request must be.

    Args:
        specs: The inputs of the model.
        max_batch_size: Most rows of one request when rows may be merged; 0 when the first axis is like any other.
    """

    def __init__(self, specs: Sequence[TensorSpec], max_batch_size: int) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._max_batch_size = max_batch_size

    def check(self, tensors: Mapping[str, Array], datatypes: Mapping[str, Datatype] | None = None) -> int:
        """The number of rows of a request; 1 when rows are not merged.

        Args:
            tensors: The arrays by name.
            datatypes: What the request says they are; `None` when it does not say.

        Raises:
            RequestFault: Names the input and what is wrong with it.
        """
        if tensors.keys() != self._specs.keys():
            raise self._wrong_names(tensors)
        for name, spec in self._specs.items():
            if datatypes is not None and datatypes[name] is not spec.datatype:
                raise invalid(f"The datatype of {quoted(name)} is {spec.datatype.name}, not {datatypes[name].name}.")
            self._check_shape(spec, tensors[name].shape)
        return self._rows(tensors) if self._max_batch_size else 1

    def _wrong_names(self, tensors: Mapping[str, Array]) -> Exception:
        expected = ", ".join(map(quoted, self._specs))
        missing = [name for name in self._specs if name not in tensors]
        if missing:
            return invalid(f"The input {quoted(missing[0])} is missing; the model takes {expected}.")
        unknown = next(name for name in tensors if name not in self._specs)
        return invalid(f"There is no input {quoted(unknown)}; the model takes {expected}.")

    def _check_shape(self, spec: TensorSpec, shape: tuple[int, ...]) -> None:
        wanted = spec.shape
        if len(shape) == len(wanted):
            for length, dim in zip(shape, wanted, strict=True):  # `all` would cost a generator for each request
                if length != dim and isinstance(dim, int):
                    break
            else:
                return
        raise invalid(
            f"The shape of {quoted(spec.name)} must be {spec.protocol_shape} (-1 is free), not {list(shape)}."
        )

    def _rows(self, tensors: Mapping[str, Array]) -> int:
        lengths: set[int] = {array.shape[0] for array in tensors.values()}
        if len(lengths) > 1:
            raise invalid("All inputs must have the same number of rows (the length of the first axis).")
        rows = lengths.pop()
        if not 1 <= rows <= self._max_batch_size:
            raise invalid(f"A request must have 1 to {self._max_batch_size} rows, not {rows}.")
        return rows
