"""Inferred shapes against those at run time, over the zoo: `make bench-shapes`, or `python -m benchmarks.shapes`.

Every value that a node of the main graph gives is made an output, and ONNX Runtime runs the model with nothing
optimised away. Its shapes and element types are compared with the inferred ones, and its signature with the one that
nimify reads. What no one can know before a run may lie below the inferred bound, where inference says that it is one;
and an axis that the file leaves free may have a length for ONNX Runtime. Values inside bodies are not compared: no
engine shows them.

Status 0: nothing is wrong; 1: something is.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import onnx
import onnxruntime as ort
from benchmarks.machine import facts
from benchmarks.model_zoo import BATCH_AXIS, ZOO, ZooModel

from nimify.analysis.binding import axis_name
from nimify.analysis.drawing import Draw
from nimify.analysis.graph import InferredGraph, Node, Value
from nimify.analysis.structure import infer_in_process
from nimify.formats.onnx import OnnxFormat
from nimify.serving.engines.onnxruntime import OnnxRuntimeEngine
from nimify.tensors import Signature, TensorSpec

RESULTS: Final = Path(__file__).parent / "results" / "shapes.jsonl"
BATCHES: Final = (1, 2)
_ID_BOUND: Final = 10
"""Integers that are drawn lie below this, so that every table has a row for them."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of the signature of a model, or of its values at one batch.

    Attributes:
        model: Its name.
        batch: Length of the batch axis; 0 for the signature.
        nodes: Nodes of the main graph; 0 for the signature.
        equal: Tensors whose shape and type are exactly those at run time.
        bounds: Tensors that are at most as large as nimify says, each with what it says and what was found.
        gaps: Where inference says that it does not know, and why.
        wrong: What differs.
    """

    model: str = ""
    batch: int = 0
    nodes: int = 0
    equal: int = 0
    bounds: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def values(self) -> int:
        """How many tensors were compared."""
        return self.equal + len(self.bounds) + len(self.wrong)


def check(name: str, batches: Sequence[int]) -> list[Comparison]:
    """Compare a model of the zoo at each batch."""
    model = ZOO[name]
    return compare(model.ensure(), name, [{**model.free, BATCH_AXIS: batch} for batch in batches])


def compare(path: Path, name: str, bindings: Sequence[Mapping[str, int]]) -> list[Comparison]:
    """Compare the signature of a model file, then its values at each binding."""
    signature = OnnxFormat().read(path, digest=False).signature
    rows = [judge_signature(signature, OnnxRuntimeEngine.load(path, threads=1).signature)]
    session = _session_that_shows_everything(path)
    for binding, graph in zip(bindings, infer_in_process(path, *bindings), strict=True):
        row = judge(graph, run_time_values(session, signature, binding))
        rows.append(replace(row, batch=binding[BATCH_AXIS]))
    return [replace(row, model=name) for row in rows]


def judge_signature(read: Signature, engine: Signature) -> Comparison:
    """Hold the signature that the file declares against that of the engine."""
    ours, theirs = ((*signature.inputs, *signature.outputs) for signature in (read, engine))
    equal = 0
    bounds: list[str] = []
    wrong: list[str] = []
    for one, other in zip_longest(ours, theirs):
        if one == other:
            equal += 1
            continue
        text = f"signature: read {_declared(one)}, at run time {_declared(other)}"
        (bounds if one and other and _is_narrower(other, one) else wrong).append(text)
    return Comparison(equal=equal, bounds=tuple(bounds), wrong=tuple(wrong))


def _is_narrower(engine: TensorSpec, read: TensorSpec) -> bool:
    """Whether two tensors differ only where the engine has a length for an axis that the file leaves free."""
    return (engine.name, engine.datatype, len(engine.shape)) == (read.name, read.datatype, len(read.shape)) and all(
        length == declared or (isinstance(length, int) and not isinstance(declared, int))
        for length, declared in zip(engine.shape, read.shape, strict=True)
    )


def _declared(spec: TensorSpec | None) -> str:
    return "nothing" if spec is None else f"{spec.name} {spec.datatype.name}{list(spec.shape)}"


def _session_that_shows_everything(path: Path) -> Any:
    model = onnx.load(str(path))
    shown = {output.name for output in model.graph.output}
    for name in dict.fromkeys(name for node in model.graph.node for name in node.output if name):
        if name not in shown:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_time_values(session: Any, signature: Signature, binding: Mapping[str, int]) -> dict[str, Value]:
    """What ONNX Runtime gives for drawn inputs: types and shapes by name."""
    drawn = Draw(0, integer_bound=_ID_BOUND).inputs(_bound(signature, binding), rows=1)
    feeds = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in drawn.items()}
    names = [output.name for output in session.get_outputs()]
    values = session.run_with_ort_values(names, feeds)
    return {name: _described(name, value) for name, value in zip(names, values, strict=True)}


def _bound(signature: Signature, binding: Mapping[str, int]) -> Signature:
    """A signature without free axes."""

    def bound(spec: TensorSpec) -> TensorSpec:
        lengths = (
            dim if isinstance(dim, int) else binding[axis_name(spec.name, axis, dim)]
            for axis, dim in enumerate(spec.shape)
        )
        return replace(spec, shape=tuple(lengths))

    return Signature(tuple(map(bound, signature.inputs)), signature.outputs)


def _described(name: str, value: Any) -> Value:
    if not value.is_tensor():
        return Value(name)
    return Value(name, onnx.TensorProto.DataType.Name(value.element_type()), tuple(value.shape()))


def judge(graph: InferredGraph, found: Mapping[str, Value]) -> Comparison:
    """Hold what was inferred against what was found."""
    open_values = _open_values(graph)
    equal = 0
    bounds: list[str] = []
    wrong: list[str] = []
    for name, actual in found.items():
        inferred = graph.values.get(name, Value(name))
        if (inferred.element_type, inferred.shape) == (actual.element_type, actual.shape):
            equal += 1
            continue
        text = f"{name}: inferred {_shown(inferred)}, at run time {_shown(actual)}"
        (bounds if name in open_values and _is_within(actual, inferred) else wrong).append(text)
    gaps = tuple(f"{gap.node} ({gap.operator}): {gap.reason}" for gap in graph.gaps)
    return Comparison("", 0, len(graph.nodes), equal, tuple(bounds), gaps, tuple(wrong))


def _open_values(graph: InferredGraph) -> set[str]:
    """Values of which inference says that it does not know them exactly, and what is made of them."""
    gaps = {gap.node for gap in graph.gaps}
    values: set[str] = set()
    for node in graph.nodes:
        if node.name in gaps or _has_open_body(node) or not values.isdisjoint(node.inputs):
            values.update(node.outputs)
    return values


def _has_open_body(node: Node) -> bool:
    return any(body.gaps for body in node.subgraphs.values())


def _is_within(actual: Value, bound: Value) -> bool:
    """Whether a value has the type and number of axes of another, and none is longer."""
    if actual.shape is None or bound.shape is None or actual.element_type != bound.element_type:
        return False
    return len(actual.shape) == len(bound.shape) and all(
        length <= most for length, most in zip(actual.shape, bound.shape, strict=True)
    )


def _shown(value: Value) -> str:
    return f"{value.element_type or 'no type'}{'[?]' if value.shape is None else list(value.shape)}"


def checked_apart(model: ZooModel, batches: Sequence[int]) -> list[Comparison]:
    """The same in a process of its own, whose memory goes with it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(check, model.name, batches).result()
        except BrokenProcessPool:
            return [Comparison(model.name, wrong=("the process that ran it crashed, or ran out of memory",))]
        except Exception as error:  # noqa: BLE001 - one model that does not run must not hide the others
            return [Comparison(model.name, wrong=(f"it could not be compared: {type(error).__name__}: {error}",))]


def line(rows: Sequence[Comparison]) -> str:
    """A row of the table: everything about one model, with what is not plainly equal below it."""
    counts = (max(row.nodes for row in rows), *_counts(rows))
    first = f"{rows[0].model:22} " + " ".join(f"{count:7}" for count in counts)
    remarks = dict.fromkeys(text for row in rows for text in (*row.gaps, *row.bounds, *row.wrong))
    return "\n    ".join((first, *remarks))


def _counts(rows: Sequence[Comparison]) -> tuple[int, ...]:
    """Compared, equal, within a bound, gaps, wrong."""
    columns = ((row.values, row.equal, len(row.bounds), len(row.gaps), len(row.wrong)) for row in rows)
    return tuple(map(sum, zip(*columns, strict=True)))


def total(rows: Sequence[Comparison]) -> str:
    """The last lines of the table."""
    parts = {
        "signatures": [row for row in rows if not row.batch],
        "values": [row for row in rows if row.batch],
    }
    texts = [f"{len({row.model for row in rows})} models"]
    for title, part in parts.items():
        if part:
            compared, equal, bounds, gaps, wrong = _counts(part)
            texts.append(
                f"{title}: {compared} compared, {equal} equal, {bounds} within a bound, {wrong} wrong ({gaps} gaps)"
            )
    return "\n".join(texts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and write its rows as lines of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapes", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=tuple(ZOO), help="only these")
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    options = parser.parse_args(arguments)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    columns = ("nodes", "tensors", "equal", "bounds", "gaps", "wrong")
    print(f"{'model':22} " + " ".join(f"{column:>7}" for column in columns))
    rows: list[Comparison] = []
    with RESULTS.open("w") as stream:
        print(json.dumps({"kind": "facts", **facts(), "onnxruntime": ort.__version__}), file=stream)
        for name in options.models or ZOO:
            found = checked_apart(ZOO[name], options.batches)
            rows += found
            print(line(found), flush=True)
            stream.writelines(json.dumps({"kind": "shapes", **asdict(row)}) + "\n" for row in found)
    print(total(rows))
    return 1 if any(row.wrong for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
