"""An engine that fails on demand: ONNX Runtime, but some values of `x` are orders. Installed as a plugin by tests."""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Self

from nimify.serving.engines.engine import Array
from nimify.serving.engines.onnxruntime import OnnxRuntimeEngine


class Order(IntEnum):
    """What to do instead of running the model, when it is the first element of `x`."""

    ABORT = 1001
    SEGMENTATION_FAULT = 1002
    BUS_ERROR = 1003
    HANG = 1004
    NO_MEMORY = 1005
    EXCEPTION = 1006


_ORDERS = {float(order.value): order for order in Order}


class FaultyEngine:
    """See `Engine`."""

    def __init__(self, engine: OnnxRuntimeEngine) -> None:
        self._engine = engine
        self.signature = engine.signature

    @classmethod
    def load(cls, model_file: Path, *, threads: int) -> Self:
        """See `EngineType.load`."""
        return cls(OnnxRuntimeEngine.load(model_file, threads=threads))

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """See `Engine.run`."""
        for value in inputs["x"][:, 0].tolist():
            if value in _ORDERS:
                _obey(_ORDERS[value])
        return self._engine.run(inputs, outputs)

    def close(self) -> None:
        """See `Engine.close`."""
        self._engine.close()


def _obey(order: Order) -> None:
    match order:
        case Order.ABORT:
            os.abort()
        case Order.SEGMENTATION_FAULT:
            ctypes.string_at(0)
        case Order.BUS_ERROR:
            _read_a_file_that_was_cut_short()
        case Order.HANG:
            while True:
                time.sleep(60)
        case Order.NO_MEMORY:
            raise MemoryError
        case Order.EXCEPTION:
            raise RuntimeError("a secret of the engine, in /etc/passwd")


def _read_a_file_that_was_cut_short() -> None:
    with tempfile.TemporaryFile() as file:
        file.truncate(8192)
        mapped = mmap.mmap(file.fileno(), 8192)
        file.truncate(0)
        mapped[4096]
