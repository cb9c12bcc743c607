"""What this machine's CPU can do, measured in about half a second and remembered.

Matrix products give the arithmetic, one copy the traffic with memory. The figures lie in the user's cache folder,
by the CPU's model and the number of threads; a cache that cannot be read or written costs only the time.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from nimify.analysis.roofline import Device
from nimify.filesystem import replace_file
from nimify.serving.cpus import available_cpus

_CACHE_FILE: Final = Path("nimify") / "cpu-ceilings.json"
_MAX_CACHE_BYTES: Final = 1 << 20
_SIDE: Final = 320
_SMALL_SIDE: Final = 96
"""Too small for the threads of numpy's library, large enough for two thirds of what one of them reaches."""
_COPY_BYTES: Final = 32 << 20
"""Of all threads together: beyond what caches hold on most machines, and a moment's work."""
_BUDGET_S: Final = 0.15
"""Of each of the three measurements."""
LAUNCH_S: Final = 4e-7
"""To start one node: what a node of a chain of a thousand takes in ONNX Runtime that has almost nothing to compute."""
RUN_S: Final = 8e-6
"""To start one run from Python, measured in the same way with a single node, on a server of 2026."""


def cpu_device(*, threads: int | None = None, cache: Path | None = None) -> Device:
    """This machine's CPU with what was measured of it, now or earlier.

    Args:
        threads: How many threads may work; as many as this process may use CPUs when left out.
        cache: The user's cache folder; found by the usual rules when left out.
    """
    threads = threads or available_cpus()
    model = cpu_model()
    file = (cache or _cache_folder()) / _CACHE_FILE
    key = f"{model}, {threads} threads"
    known = _read(file)
    ceilings = _valid(known.get(key))
    if ceilings is None:
        ceilings = (measured_flops_per_s(threads), measured_bytes_per_s(threads))
        _write(file, {**known, key: {"flops_per_s": ceilings[0], "bytes_per_s": ceilings[1]}})
    flops, moved = ceilings
    # Half as many numbers of twice the size fit into one register.
    return Device(f"{model} ({threads} threads)", {"FLOAT": flops, "DOUBLE": flops / 2}, moved, LAUNCH_S, RUN_S)


def cpu_model() -> str:
    """What the CPU calls itself."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    names = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine() or "CPU"


def measured_flops_per_s(threads: int) -> float:
    """Floating point operations per second in products of FP32 matrices, the best of a few.

    A large product shows what all threads reach together, on a machine that has nothing else to do: numpy's library
    starts threads of its own, as many as there are CPUs (fewer get their share), and they wait for each other, so that
    a busy machine may show a hundredth. Small products stay in one thread, and are measured by the time that it worked.
    """
    together = _flops(_SIDE) / _best_seconds(_product(_SIDE, time.perf_counter)) * min(threads / available_cpus(), 1.0)
    alone = _flops(_SMALL_SIDE) / _best_seconds(_product(_SMALL_SIDE, time.thread_time))
    return max(together, alone * threads)


def measured_bytes_per_s(threads: int) -> float:
    """Bytes read and written per second in a copy, the best of a few.

    By the time that each thread worked: waiting for memory counts, waiting for a processor does not.
    """
    length = _COPY_BYTES // threads
    sources = [np.ones(length, np.uint8) for _ in range(threads)]
    targets = [np.empty(length, np.uint8) for _ in range(threads)]

    def work(index: int) -> float:
        start = time.thread_time()
        np.copyto(targets[index], sources[index])
        return time.thread_time() - start

    return threads * 2 * length / _best_seconds(work, threads)


def _flops(side: int) -> float:
    return 2.0 * side**3


def _product(side: int, clock: Callable[[], float]) -> Callable[[int], float]:
    """What multiplies two matrices, and says how many seconds one product took."""
    one, other = np.ones((side, side), np.float32), np.ones((side, side), np.float32)
    result = np.empty((side, side), np.float32)
    times = max(1, _SIDE**3 // side**3)  # To one reading of the clock.

    def work(_: int) -> float:
        start = clock()
        for _ in range(times):
            np.matmul(one, other, out=result)
        return (clock() - start) / times

    return work


def _best_seconds(work: Callable[[int], float], threads: int = 1) -> float:
    """Seconds of the slowest thread when all do their work at once, the best of those that fit into the budget."""
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))  # The first time pays for pages and for starting threads.
        deadline = time.perf_counter() + _BUDGET_S
        while best == float("inf") or time.perf_counter() < deadline:
            # A clock of coarse steps may show none.
            best = min(best, max(pool.map(work, range(threads))) or best)
    return best


def _cache_folder() -> Path:
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    return Path(chosen) if Path(chosen).is_absolute() else Path.home() / ".cache"


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            data = json.loads(stream.read(_MAX_CACHE_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _valid(entry: Any) -> tuple[float, float] | None:
    try:
        flops, moved = float(entry["flops_per_s"]), float(entry["bytes_per_s"])
    except (KeyError, TypeError, ValueError):
        return None
    return (flops, moved) if 0 < flops < 1e18 and 0 < moved < 1e18 else None


def _write(file: Path, entries: dict[str, Any]) -> None:
    """Keep the measurements; where that is not possible they are made again."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, json.dumps(entries, indent=2, sort_keys=True).encode())
