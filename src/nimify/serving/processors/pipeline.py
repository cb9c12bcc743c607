"""The pipeline around the engine: how it maps the signature, and how it runs.

`load_steps` makes the processors, `map_signature` says what `/v1/infer` speaks with them, and `ProcessorPipeline` is
both at once for the service, with each step held to what it promised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from nimify.errors import ConfigError, PluginError
from nimify.extensions.source import source_file
from nimify.extensions.user_code import user_code
from nimify.serving.processors.loader import load_factory, load_steps
from nimify.serving.processors.processor import Array, InvalidInput, Processor, Specs, Tensors, place
from nimify.serving.processors.top_k import TopK
from nimify.serving.spec import Pipeline
from nimify.tensors import Signature, TensorSpec

__all__ = ["ProcessorPipeline", "load_factory", "load_steps", "map_signature"]

_Side = Literal["before", "after"]


def map_signature(signature: Signature, before: Sequence[Processor], after: Sequence[Processor]) -> Signature:
    """What `/v1/infer` speaks, given what the engine does.

    Args:
        signature: What the engine takes and gives.
        before: Steps before the engine, in the order in which they run; mapped from the engine outwards.
        after: Steps after the engine, in the order in which they run.

    Raises:
        ConfigError: A step does not fit the tensors, or stands on the wrong side.
        PluginError: A step's own code fails, or what it promises is no signature.
    """
    return Signature(
        inputs=_trace(before[::-1], signature.inputs, "before")[-1],
        outputs=_trace(after, signature.outputs, "after")[-1],
    )


@dataclass(frozen=True, slots=True)
class _Stage:
    """A processor, what it must give, and what its errors are named after."""

    processor: Processor
    gives: Specs
    name: str
    file: Path | None

    def __call__(self, tensors: Tensors) -> Tensors:
        name = self.name
        with user_code(name, self.file, meant=(InvalidInput,)):
            result: object = self.processor(tensors)
        if not isinstance(result, dict):
            raise PluginError(f"{name} must return a dict of tensors, not {type(result).__name__}.")
        if result.keys() != {spec.name for spec in self.gives}:
            promised = ", ".join(spec.name for spec in self.gives)
            given = ", ".join(map(str, result)) or "none"
            raise PluginError(f"{name} promised the tensors {promised} and gave {given}.")
        for spec in self.gives:
            _check_tensor(name, spec, result[spec.name])
        return result


class ProcessorPipeline:
    """Processors around an engine, ready to run.

    Attributes:
        api: What clients send and get: the engine's signature as the steps map it.
    """

    def __init__(self, signature: Signature, before: Sequence[Processor], after: Sequence[Processor]) -> None:
        inward = _trace(before[::-1], signature.inputs, "before")
        outward = _trace(after, signature.outputs, "after")
        self.api = Signature(inputs=inward[-1], outputs=outward[-1])
        # The last step before the engine gives what the engine takes; each earlier one what the next one takes.
        self._before = [_stage(step, gives) for step, gives in zip(before, inward[-2::-1], strict=True)]
        self._after = [_stage(step, gives) for step, gives in zip(after, outward[1:], strict=True)]

    @classmethod
    def load(cls, pipeline: Pipeline, signature: Signature, root: Path) -> Self:
        """Load the steps of a plan; see `load_steps` and `map_signature` for what can go wrong."""
        return cls(signature, load_steps(pipeline.before, root), load_steps(pipeline.after, root))

    def __bool__(self) -> bool:
        """Whether there is any step; without one, requests need not come by here."""
        return bool(self._before or self._after)

    @property
    def runs_foreign_code(self) -> bool:
        """Whether any step is not nimify's own, and may take as long as it likes."""
        steps = [stage.processor for stage in (*self._before, *self._after)]
        return not all(type(step).__module__.startswith("nimify.") for step in steps)

    @property
    def class_labels(self) -> Mapping[str, Array]:
        """What the classes of a tensor are called, by its name, where `top_k` was given a label file."""
        named: dict[str, Array] = {}
        for stage in self._after:
            named |= stage.processor.class_labels if isinstance(stage.processor, TopK) else {}
        return named

    def before(self, tensors: Tensors) -> Tensors:
        """From what the client sent to what the engine takes.

        Raises:
            InvalidInput: The client's values cannot be processed; the message is for the client.
            PluginError: A step's own code fails; the message is for the log.
        """
        for stage in self._before:
            tensors = stage(tensors)
        return tensors

    def after(self, tensors: Tensors) -> Tensors:
        """From what the engine gave to what the client gets; raises as `before` does."""
        for stage in self._after:
            tensors = stage(tensors)
        return tensors


def _trace(processors: Sequence[Processor], specs: Specs, side: _Side) -> list[Specs]:
    """The tensors at each joint, from the engine outwards; the engine's own come first."""
    joints = [specs]
    for processor in processors:
        name = _name(processor)
        if place(processor) not in {None, side}:
            raise ConfigError(
                f"{name} cannot stand {side} the engine, only {place(processor)} it.", field=f"pipeline.{side}"
            )
        with user_code(name, source_file(processor)):
            outer = processor.outer(joints[-1])
        joints.append(_checked(name, outer))
    return joints


def _checked(name: str, specs: object) -> Specs:
    rows = tuple(specs) if isinstance(specs, tuple | list) else ()
    if not rows or not all(isinstance(spec, TensorSpec) for spec in rows):
        raise PluginError(f"{name} must return a tuple of TensorSpec from outer(), not {type(specs).__name__}.")
    names = [spec.name for spec in rows]
    if len(set(names)) != len(names):
        raise PluginError(f"{name} gives two tensors the same name: {', '.join(names)}.")
    return rows


def _check_tensor(name: str, spec: TensorSpec, array: object) -> None:
    # Lengths are left to the engine's side: they follow from what the client sent, and are its mistake, not the step's.
    if not isinstance(array, np.ndarray) or array.dtype != spec.datatype.storage or array.ndim != len(spec.shape):
        given = f"{array.dtype} with {array.ndim} axes" if isinstance(array, np.ndarray) else type(array).__name__
        raise PluginError(
            f"{name} promised '{spec.name}' as {spec.datatype.storage} with {len(spec.shape)} axes and gave {given}."
        )


def _stage(processor: Processor, gives: Specs) -> _Stage:
    return _Stage(processor, gives, _name(processor), source_file(processor))


def _name(processor: Processor) -> str:
    return f"The processor '{getattr(processor, '__name__', type(processor).__name__)}'"
