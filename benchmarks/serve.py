"""`make bench-serve`: nimify against ONNX Runtime in a loop and against a plain FastAPI server, as ratios.

For each model: make its bundle, then in every round start all servers afresh, check their answers, and load them in
turn at each number of connections. What is measured and how to read it is in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.contestants import RESULTS_DIR, ROOT, fastapi_contestant, make_bundle, nimify_contestant
from benchmarks.exchange import Protocol
from benchmarks.failure import BenchmarkFailed, MissingTool
from benchmarks.load import LoadPrograms
from benchmarks.machine import NOISY_CORES, facts
from benchmarks.models import MODELS
from benchmarks.options import end_in_order, model_names, numbers, positive
from benchmarks.records import Load, Record, Recorder
from benchmarks.report import as_markdown, as_text, tables
from benchmarks.rounds import Effort, Rounds, questions_for

PEER_PYTHON: Final = ROOT / ".tools" / "bench" / "bin" / "python"
FULL: Final = Effort(rounds=3, seconds=4, connections=(1, 8, 64))
QUICK: Final = Effort(rounds=1, seconds=1, connections=(1, 8))


def main() -> int:
    """Run the benchmark; the process status says whether all of it worked."""
    signal.signal(signal.SIGTERM, end_in_order)
    options = _parse()
    effort = _effort(options)
    try:
        load = LoadPrograms.find(grpc=False)
        fastapi = fastapi_contestant(_peer_python(options.peer_python))
        contestants = (nimify_contestant(Protocol.JSON, Protocol.BINARY), fastapi)
        recorder = Recorder(RESULTS_DIR / f"serve-{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}.jsonl")
        recorder.begin(_facts(options.peer_python, options.models, effort))
        for name in options.models:
            make_bundle(MODELS[name])
            rounds = Rounds(MODELS[name], questions_for(MODELS[name]), contestants, effort, load, recorder)
            for number in range(1, effort.rounds + 1):
                rounds.run(number)
    except BenchmarkFailed as failure:
        print(f"bench-serve: {failure}", file=sys.stderr)
        return failure.exit_code
    _show(recorder, markdown=options.markdown)
    return 1 if _errors(recorder.records) else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-serve", description="How fast nimify serves, as ratios.")
    add = parser.add_argument
    add("--models", type=model_names, default=tuple(MODELS), help=f"from {','.join(MODELS)} (default: all)")
    add("--connections", type=numbers, help="of the load generator (default: 1,8,64)")
    add("--seconds", type=positive, help="for each measurement (default: 4)")
    add("--rounds", type=positive, help="how often everything is measured (default: 3)")
    add("--quick", action="store_true", help="one round of one second at 1,8 connections: does it work at all?")
    add("--markdown", action="store_true", help="print the tables in Markdown")
    add("--peer-python", type=Path, default=PEER_PYTHON, help="Python of the environment that has FastAPI")
    return parser.parse_args()


def _effort(options: argparse.Namespace) -> Effort:
    usual = QUICK if options.quick else FULL
    return Effort(
        rounds=options.rounds or usual.rounds,
        seconds=options.seconds or usual.seconds,
        connections=options.connections or usual.connections,
        patient=not options.quick,
    )


def _peer_python(python: Path) -> Path:
    if not python.exists():
        raise MissingTool(f"'{python}' does not exist, which runs FastAPI; `make bench-serve` makes it")
    return python


def _facts(peer_python: Path, models: Sequence[str], effort: Effort) -> dict[str, Any]:
    """What was run and where, without naming the machine."""
    listing = "import importlib.metadata as m; print(*(m.version(n) for n in ('fastapi', 'uvicorn', 'onnxruntime')))"
    peer = subprocess.run([str(peer_python), "-c", listing], capture_output=True, text=True, check=False)
    return {
        **facts(),
        "python": platform.python_version(),
        "nimify": version("nimify-anything"),
        "onnxruntime": version("onnxruntime"),
        "peer": dict(zip(("fastapi", "uvicorn", "onnxruntime"), peer.stdout.split(), strict=False)),
        "models": list(models),
        "rounds": effort.rounds,
        "seconds": effort.seconds,
        "connections": list(effort.connections),
    }


def _show(recorder: Recorder, *, markdown: bool) -> None:
    draw = as_markdown if markdown else as_text
    for table in tables(recorder.records):
        print(draw(table), end="\n\n")
    print(f"~ marks figures whose every round ran while unrelated work took over {NOISY_CORES} cores.")
    print("Columns that end in 'here' are about this machine at this hour; only the ratios travel.")
    for load in _errors(recorder.records):
        print(
            f"{load.result.errors} requests failed: {load.contestant} {load.protocol}, {load.model}, "
            f"{load.connections} connections, round {load.round}."
        )
    print(f"Every measurement: {recorder.path.relative_to(ROOT)}")


def _errors(records: Sequence[Record]) -> list[Load]:
    return [record for record in records if isinstance(record, Load) and record.result.errors]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
