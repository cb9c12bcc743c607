"""Measures the peak resident memory of a fresh process that loads a model as nimify does and runs it.

As a program (`python -m benchmarks.memory_probe`) it is that process; `measure` starts it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from benchmarks.model_zoo import BATCH_AXIS, ONE_NODE, ZooModel

from nimify.serving.engines.onnxruntime import OnnxRuntimeEngine
from nimify.tensors import TensorSpec

RUNS: Final = 3
"""How often the model runs; the first run has not yet the memory plan of those that follow."""
REPEATS: Final = 3
"""Fresh processes for each figure; the median counts."""
_STATUS: Final = Path("/proc/self/status")


def measure(model: ZooModel, batch: int, *, threads: int = 1, repeats: int = REPEATS) -> int:
    """Bytes of peak resident memory above those of a one-node model."""
    return peak_bytes(model, batch, threads, repeats) - baseline_bytes(threads, repeats)


@cache
def baseline_bytes(threads: int, repeats: int) -> int:
    """What the process with the one-node model takes; measured once."""
    return peak_bytes(ONE_NODE, 1, threads, repeats)


def peak_bytes(model: ZooModel, batch: int, threads: int, repeats: int = REPEATS) -> int:
    """Bytes of peak resident memory of the whole process: the median of fresh processes."""
    return int(statistics.median(probe(model, batch, threads)["peak"] for _ in range(repeats)))


def probe(model: ZooModel, batch: int, threads: int) -> dict[str, int]:
    """One fresh process: resident memory before loading, after it, and at the end, and both peaks, in bytes."""
    free = json.dumps({**model.free, BATCH_AXIS: batch})
    command = [sys.executable, "-m", "benchmarks.memory_probe", str(model.ensure()), free, str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    figures: dict[str, int] = json.loads(done.stdout)
    return figures


def _measure_here(path: Path, free: dict[str, int], threads: int) -> dict[str, int]:
    figures = {"start": _status_bytes("VmRSS")}
    engine = OnnxRuntimeEngine.load(path, threads=threads)
    figures |= {"loaded": _status_bytes("VmRSS"), "load_peak": _status_bytes("VmHWM")}
    inputs = {spec.name: _drawn(spec, free) for spec in engine.signature.inputs}
    names = [spec.name for spec in engine.signature.outputs]
    for _ in range(RUNS):
        engine.run(inputs, names)
    return figures | {"end": _status_bytes("VmRSS"), "peak": _status_bytes("VmHWM")}


def _drawn(spec: TensorSpec, free: dict[str, int]) -> np.ndarray[Any, Any]:
    """A small ramp in every row, written in place: drawing must not take memory that serving does not."""
    shape = [dim if isinstance(dim, int) else free[str(dim)] for dim in spec.shape]
    array = np.empty(shape, spec.datatype.storage)
    flat = array.reshape(-1)
    for start in range(0, flat.size, 4096):
        part = flat[start : start + 4096]
        part[...] = np.arange(part.size) % 17
    return array


def _status_bytes(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    print(json.dumps(_measure_here(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]))))
