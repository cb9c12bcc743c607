"""`top_k`: keep the k best classes, with their labels and scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np

from nimify.errors import ConfigError
from nimify.serving.processors.precision import to_numbers, working_dtype
from nimify.serving.processors.processor import Array, InvalidInput, Specs, Tensors
from nimify.serving.processors.selection import replace, select
from nimify.tensors import DATATYPES, TensorSpec

_MAX_LABEL_FILE_BYTES: Final = 16 << 20


class TopK:
    """Replaces a tensor of class scores by the k highest, best first.

    The last axis is the class axis; axes before it (the batch) stay. Equal scores keep the order of their classes, and
    NaN comes after every number. Two tensors take the place of the scores: `labels` (BYTES) or, without a label file,
    `classes` (INT64, counted from 0); and `scores`, in the datatype that they had.

    Args:
        k: How many.
        labels: A UTF-8 text file with one label a line, in the order of the classes.
        tensor: Which tensor; may be left out when there is just one.
        label: Name of the tensor of labels or classes.
        score: Name of the tensor of scores.
    """

    file_options: ClassVar[frozenset[str]] = frozenset({"labels"})
    place: ClassVar[Literal["after"]] = "after"

    def __init__(
        self,
        *,
        k: int = 1,
        labels: str | None = None,
        tensor: str | None = None,
        label: str | None = None,
        score: str = "scores",
    ) -> None:
        self._k = _count(k)
        self._labels = None if labels is None else read_labels(Path(labels))
        self._tensor = tensor
        self._label = _name(label or ("classes" if labels is None else "labels"), "label")
        self._score = _name(score, "score")
        self._spec: TensorSpec | None = None
        if self._labels is not None and k > len(self._labels):
            raise ConfigError(f"is {k}, but there are only {len(self._labels)} labels.", field="top_k.k")

    def outer(self, inner: Specs) -> Specs:
        """Labels (or classes) and scores instead of the tensor. See `Processor.outer`."""
        spec = select(inner, self._tensor, step="top_k")
        self._check(spec)
        self._spec = spec
        shape = (*spec.shape[:-1], self._k)
        kind = DATATYPES["INT64" if self._labels is None else "BYTES"]
        best = (TensorSpec(self._label, kind, shape), TensorSpec(self._score, spec.datatype, shape))
        taken = {other.name for other in inner if other is not spec}
        for option, name in (("label", self._label), ("score", self._score)):
            if name in taken or self._label == self._score:
                raise ConfigError(
                    f"two tensors would be named '{name}'.", field=f"top_k.{option}", remedy="Choose another name."
                )
        return replace(inner, spec.name, *best)

    @property
    def class_labels(self) -> Mapping[str, Array]:
        """The labels by the name of the tensor that they are for; nothing without a label file."""
        return {} if self._spec is None or self._labels is None else {self._spec.name: self._labels}

    def _check(self, spec: TensorSpec) -> None:
        if not (spec.datatype.is_float or spec.datatype.is_integer):
            raise ConfigError(
                f"'{spec.name}' is {spec.datatype.name}, and only numbers can be ranked.", field="top_k.tensor"
            )
        if not spec.shape:
            raise ConfigError(f"'{spec.name}' is a scalar; there are no classes to rank.", field="top_k.tensor")
        classes = spec.shape[-1]
        if not isinstance(classes, int):
            return
        if self._k > classes:
            raise ConfigError(
                f"is {self._k}, but '{spec.name}' has only {classes} classes.",
                field="top_k.k",
                remedy=f"Choose at most {classes}.",
            )
        if self._labels is not None and len(self._labels) != classes:
            raise ConfigError(
                f"has {len(self._labels)} labels, but '{spec.name}' has {classes} classes.",
                field="top_k.labels",
                remedy="Give one label a line, in the order of the classes.",
            )

    def __call__(self, tensors: Tensors) -> Tensors:
        """Rank the scores and pass the other tensors through. See `Processor.__call__`."""
        if self._spec is None:
            raise RuntimeError("outer() comes before the first request")
        scores = tensors[self._spec.name]
        self._check_classes(scores.shape[-1])
        best = self._ranked(scores)[..., : self._k]
        named: Array = best.astype(np.int64, copy=False) if self._labels is None else self._labels[best]
        others = {name: array for name, array in tensors.items() if name != self._spec.name}
        return {**others, self._label: named, self._score: np.take_along_axis(scores, best, axis=-1)}

    def _check_classes(self, classes: int) -> None:
        """A free class axis is only known now; its length follows from what the client sent."""
        wanted = self._k if self._labels is None else len(self._labels)
        if classes < self._k or (self._labels is not None and classes != wanted):
            raise InvalidInput(f"These inputs give {classes} classes, but the service ranks {wanted}.")

    def _ranked(self, scores: Array) -> Array:
        """Class numbers by falling score; a stable sort keeps ties in order and puts NaN last."""
        datatype = self._spec.datatype if self._spec is not None else None
        if datatype is None or datatype.is_integer:
            # Unlike the minus sign, the complement turns the order round without overflow, signed or not.
            return np.argsort(~scores, axis=-1, kind="stable")
        return np.argsort(-to_numbers(scores, datatype, working_dtype(datatype)), axis=-1, kind="stable")


def read_labels(path: Path) -> Array:
    """The labels of a file as BYTES elements.

    Raises:
        ConfigError: It cannot be read, is too large, is not UTF-8, is empty, or has an empty line between labels.
    """
    field = "top_k.labels"
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_LABEL_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"'{path.name}' cannot be read ({error.strerror}).", field=field) from error
    if len(content) > _MAX_LABEL_FILE_BYTES:
        raise ConfigError(f"'{path.name}' is larger than {_MAX_LABEL_FILE_BYTES} bytes.", field=field)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"'{path.name}' is not UTF-8 text.", field=field) from None
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if "" in lines:
        cause = "is empty" if len(lines) == 1 else f"has an empty line ({lines.index('') + 1}) between its labels"
        raise ConfigError(f"'{path.name}' {cause}.", field=field, remedy="Give one label a line.")
    labels = np.empty(len(lines), dtype=object)
    labels[:] = [line.encode() for line in lines]
    return labels


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"must be a whole number of at least 1, not {value!r}.", field="top_k.k")
    return value


def _name(value: Any, option: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"must be the name of a tensor, not {value!r}.", field=f"top_k.{option}")
    return value
