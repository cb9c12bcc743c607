"""Engines without a model, for tests of whatever stands around an engine.

    engine = EchoEngine({"x": ("FP32", ["batch", 4])})
    engine.run({"x": array}, ["x_out"])  # -> [array]
    engine.runs                          # -> [{"x": array}]

They are used like any engine: one run at a time, arrays by name. Nothing is loaded and nothing is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nimify.serving.engines.engine import Array
from nimify.tensors import DATATYPES, Dim, Signature, TensorSpec

Inputs = Mapping[str, Array]


class EchoEngine:
    """Gives every input back: the output of input `x` is called `x_out`.

    Args:
        inputs: Open Inference datatype and shape of each input, by name.
        on_run: Called with the inputs before each run. Raise `EngineRefused` from it to be a model that refuses
            them, anything else to be an engine that is broken; block in it to be slow.

    Attributes:
        runs: The inputs of each run that was asked for, in order.
        wanted: The outputs that each run was asked for, in order.
        closed: Whether `close` was called.
    """

    def __init__(
        self, inputs: Mapping[str, tuple[str, Sequence[Dim]]], on_run: Callable[[Inputs], None] | None = None
    ) -> None:
        specs = [(name, DATATYPES[datatype], tuple(shape)) for name, (datatype, shape) in inputs.items()]
        self.signature = Signature(
            inputs=tuple(TensorSpec(name, datatype, shape) for name, datatype, shape in specs),
            outputs=tuple(TensorSpec(f"{name}_out", datatype, shape) for name, datatype, shape in specs),
        )
        self.runs: list[Inputs] = []
        self.wanted: list[tuple[str, ...]] = []
        self.closed = False
        self._on_run = on_run

    def run(self, inputs: Inputs, outputs: Sequence[str]) -> list[Array]:
        """See `Engine.run`."""
        self.runs.append(inputs)
        self.wanted.append(tuple(outputs))
        if self._on_run is not None:
            self._on_run(inputs)
        return [inputs[name.removesuffix("_out")] for name in outputs]

    def close(self) -> None:
        """See `Engine.close`."""
        self.closed = True


class FirstRowEngine(EchoEngine):
    """Answers with the first row only, however many there are: a model whose outputs do not count rows."""

    def run(self, inputs: Inputs, outputs: Sequence[str]) -> list[Array]:
        """See `Engine.run`."""
        return [result[:1] for result in super().run(inputs, outputs)]
