"""What an analysis costs: `make bench-analysis`, or `python -m benchmarks.analysis_cost`.

Its cost must follow the graph and not the weights. The same graph is analysed with 4 MB of weights, with 1.9 GB inside
the file and with 8 GB beside it (sparse files: they hold nothing, but a reader would not know), and graphs of up to
100,000 nodes show how the cost grows with them. Time is taken twice: that of the processors, and that on the clock,
which also counts waiting, and what else runs on the machine. The laws hold only when they hold for both:

* weights of 1.9 GB and 8 GB cost at most twice the time and the memory that 4 MB do;
* no process of any of these analyses takes 200 MB of resident memory;
* time is linear in the nodes: each of 100,000 costs at most 1.3 times what each of 10,000 does.

Status 0: they hold; 1: they do not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import onnx
from benchmarks.machine import facts
from benchmarks.models import MODELS_DIR
from onnx import TensorProto, helper

COST_DIR: Final = MODELS_DIR / "cost"
RESULTS: Final = Path(__file__).parent / "results" / "analysis_cost.jsonl"
RATIO_LIMIT: Final = 2.0
MEMORY_LIMIT: Final = 200 * 10**6
GROWTH_LIMIT: Final = 1.3
_ROW_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Cost:
    """One analysis of one model: the median of some runs.

    Attributes:
        model: What was analysed.
        seconds: Of processor time, that of its children included.
        clock_seconds: From the start of the process to its end.
        parent_bytes: Peak of the resident memory of the process that was started.
        child_bytes: The same of the largest of its own children, in which shapes are inferred.
    """

    model: str
    seconds: float
    clock_seconds: float
    parent_bytes: int
    child_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Of the larger of the two processes; they are rarely large at the same time."""
        return max(self.parent_bytes, self.child_bytes)


def ensure(name: str, write: Callable[[Path], None]) -> Path:
    """The file of a model, written when it is missing."""
    path = COST_DIR / name / "model.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.part")
        write(unfinished)
        unfinished.replace(path)
    return path


def embedded(size: int) -> Callable[[Path], None]:
    """A look-up in a table of so many bytes inside the file, then fifty nodes; the table is a hole in the file."""

    def write(path: Path) -> None:
        rows = size // _ROW_BYTES
        table = helper.make_tensor_value_info("table", TensorProto.FLOAT, [rows, 1024])
        tensor = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[rows, 1024]).SerializeToString()
        # Fields by number: TensorProto.raw_data is 9, GraphProto.initializer 5, ModelProto.graph 7.
        tensor += _header(9, rows * _ROW_BYTES)
        graph = _graph([table]).SerializeToString() + _header(5, len(tensor) + rows * _ROW_BYTES) + tensor
        model = _model(None).SerializeToString() + _header(7, len(graph) + rows * _ROW_BYTES) + graph
        with path.open("wb") as stream:
            stream.write(model)
            stream.truncate(len(model) + rows * _ROW_BYTES)

    return write


def external(size: int) -> Callable[[Path], None]:
    """The same look-up in a table that lies in a file of its own."""

    def write(path: Path) -> None:
        rows = size // _ROW_BYTES
        table = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[rows, 1024])
        table.data_location = TensorProto.EXTERNAL
        table.external_data.add(key="location", value="weights.bin")
        with path.with_name("weights.bin").open("wb") as stream:
            stream.truncate(rows * _ROW_BYTES)
        graph = _graph([])
        graph.initializer.append(table)
        path.write_bytes(_model(graph).SerializeToString())

    return write


def long_chain(nodes: int) -> Callable[[Path], None]:
    """So many nodes, one after another."""

    def write(path: Path) -> None:
        path.write_bytes(_model(_chain(nodes, "x", [_tensor("x", ["N", 64])], ["N", 64])).SerializeToString())

    return write


def _graph(values: list[onnx.ValueInfoProto]) -> onnx.GraphProto:
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["N"])
    graph = _chain(50, "found", [ids], ["N", 1024])
    graph.node.insert(0, helper.make_node("Gather", ["table", "ids"], ["found"]))
    graph.value_info.extend(values)
    return graph


def _chain(nodes: int, first: str, inputs: list[onnx.ValueInfoProto], shape: list[str | int]) -> onnx.GraphProto:
    names = [first, *(f"v{index}" for index in range(nodes))]
    made = [helper.make_node("Relu", [names[index]], [names[index + 1]]) for index in range(nodes)]
    return helper.make_graph(made, "cost", inputs, [_tensor(names[-1], shape)])


def _tensor(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _model(graph: onnx.GraphProto | None) -> onnx.ModelProto:
    model = onnx.ModelProto(ir_version=10, producer_name="nimify.benchmarks")
    model.opset_import.append(helper.make_opsetid("", 17))
    if graph is not None:
        model.graph.CopyFrom(graph)
    return model


def _header(field: int, length: int) -> bytes:
    """Tag and length of a field of bytes."""
    return _varint(field << 3 | 2) + _varint(length)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def analysed(name: str, path: Path, repeats: int) -> Cost:
    """Analyse a model in fresh processes; what children take counts towards the time."""
    seconds, clock, *peaks = zip(*(_analyse(path) for _ in range(repeats)), strict=True)
    parent, child = (int(statistics.median(column)) for column in peaks)
    return Cost(name, statistics.median(seconds), statistics.median(clock), parent, child)


# The peak that a process reports starts at the size of the one that it was forked from, so a bare one is between.
_LAUNCHER: Final = """
import os, sys, time
started = time.perf_counter()
os._exit(os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)[1]))
"""

# Runs the command in its own process, so that its memory and that of its children can be told apart.
_MEASURED: Final = """
import atexit, resource, runpy, sys, time
started = time.perf_counter()
def report():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(usage.ru_utime + usage.ru_stime for usage in used)
    print("cost", seconds, time.perf_counter() - started, *(usage.ru_maxrss for usage in used), file=sys.stderr)
atexit.register(report)
runpy.run_module("nimify", run_name="__main__", alter_sys=True)
"""


def _analyse(path: Path) -> tuple[float, float, int, int]:
    options = ["analyze", str(path), "--no-digest", "--no-trial", "--json"]
    command = [sys.executable, "-c", _MEASURED, *options]
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
    done = subprocess.run(launcher, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"nimify analyze {path} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    seconds, clock, parent, child = done.stderr.split()[-4:]
    return float(seconds), float(clock), int(parent) * 1024, int(child) * 1024


MODELS: Final = {
    "4 MB of weights": ("small", embedded(4 * 10**6)),
    "1.9 GB in the file": ("embedded", embedded(19 * 10**8)),
    "8 GB beside it": ("external", external(8 * 10**9)),
    "1,000 nodes": ("nodes_1000", long_chain(1_000)),
    "10,000 nodes": ("nodes_10000", long_chain(10_000)),
    "100,000 nodes": ("nodes_100000", long_chain(100_000)),
}
"""What is analysed: folder and writer by title; the first three are one graph."""


def held(costs: Sequence[Cost]) -> bool:
    """Whether the laws hold."""
    small, *heavy = costs[:3]
    of_weights = all(
        large.seconds <= RATIO_LIMIT * small.seconds
        and large.clock_seconds <= RATIO_LIMIT * small.clock_seconds
        and large.peak_bytes <= RATIO_LIMIT * small.peak_bytes
        for large in heavy
    )
    of_memory = all(cost.peak_bytes < MEMORY_LIMIT for cost in costs)
    return of_weights and of_memory and max(growths(costs)) <= GROWTH_LIMIT


def growths(costs: Sequence[Cost]) -> tuple[float, float]:
    """Cost of a node among 100,000 by that of one among 10,000, by the processors and by the clock."""
    rows = costs[3:]
    return _growth([cost.seconds for cost in rows]), _growth([cost.clock_seconds for cost in rows])


def _growth(seconds: Sequence[float]) -> float:
    one, ten, hundred = seconds  # what starting takes is in all of them
    return (hundred - one) / 99_000 / (max(ten - one, 0.01) / 9_000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and write its rows as lines of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.analysis_cost", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="processes for each figure")
    options = parser.parse_args(arguments)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    columns = f"{'cpu s':>8} {'ratio':>6} {'clock s':>8} {'ratio':>6} {'parent MB':>10} {'child MB':>9} {'ratio':>6}"
    print(f"{'model':22} {columns}")
    costs: list[Cost] = []
    with RESULTS.open("w") as stream:
        print(json.dumps({"kind": "facts", **facts()}), file=stream)
        for title, (folder, write) in MODELS.items():
            costs.append(cost := analysed(title, ensure(folder, write), options.repeats))
            light = costs[0]
            times = f"{cost.seconds:8.2f} {cost.seconds / light.seconds:6.2f}"
            clock = f"{cost.clock_seconds:8.2f} {cost.clock_seconds / light.clock_seconds:6.2f}"
            memory = cost.peak_bytes / light.peak_bytes
            peaks = f"{cost.parent_bytes / 1e6:10.1f} {cost.child_bytes / 1e6:9.1f} {memory:6.2f}"
            print(f"{title:22} {times} {clock} {peaks}", flush=True)
            print(json.dumps({"kind": "cost", **asdict(cost)}), file=stream, flush=True)
    by_processor, by_clock = growths(costs)
    print(f"A node among 100,000 costs {by_processor:.2f} times one among 10,000, on the clock {by_clock:.2f} times.")
    print("The laws hold." if held(costs) else "The laws do not hold.")
    return 0 if held(costs) else 1


if __name__ == "__main__":
    sys.exit(main())
