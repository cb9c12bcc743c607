"""`make bench-peers`: nimify against the servers that people would use instead, behind the same models.

In every round all servers of a model are started afresh, asked whether they answer rightly, and loaded in turn; ratios
are taken within rounds. At the end the targets of benchmarks/targets.py are judged. How, and how to read it, is in
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from benchmarks.cells import RAW, Cell
from benchmarks.contestants import RESULTS_DIR, ROOT, Contestant, make_bundle, nimify_contestant
from benchmarks.exchange import Protocol
from benchmarks.failure import BenchmarkFailed
from benchmarks.load import LoadPrograms
from benchmarks.machine import NOISY_CORES, facts
from benchmarks.models import MODELS
from benchmarks.options import end_in_order, model_names, numbers, positive
from benchmarks.peer_contestants import BATCHED, PEERS, environment_of
from benchmarks.peer_report import judged, scorecard, tables
from benchmarks.records import Failure, Load, Record, Recorder
from benchmarks.report import as_markdown, as_text
from benchmarks.rounds import Effort, Rounds, questions_for
from benchmarks.targets import NIMIFY, TARGETS, Target

FULL: Final = Effort(rounds=3, seconds=4, connections=(1, 8, 64))
QUICK: Final = Effort(rounds=3, seconds=2, connections=(1, 8, 64))
_QUIET_LOAD: Final = 0.3
"""The machine counts as loaded when more processes than this wanted to run, on average over the last minute."""
SLOWER_SETTINGS: Final = frozenset({"litserve", "bentoml"})
"""Settings of peers that are slower than their batched ones under load, which a quick run leaves out."""
_PACKAGES: Final[Mapping[str, str]] = {"triton": "nvidia-pytriton"}


def main() -> int:
    """Run the benchmark; 0 when every target that it could judge is met and every request was answered."""
    signal.signal(signal.SIGTERM, end_in_order)
    options = _parse()
    effort = _effort(options)
    targets = [target for target in TARGETS if concerns(target, options.only, options.peers)]
    warning = _load_warning()
    print(warning, end="", file=sys.stderr)
    try:
        load = LoadPrograms.find(grpc=True)
        environments = {peer: environment_of(peer) for peer in options.peers}
        recorder = Recorder(RESULTS_DIR / f"peers-{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}.jsonl")
        versions = {peer: _versions(peer, str(folder / "bin/python")) for peer, folder in environments.items()}
        recorder.begin(_facts(versions, options, effort))
        models = [
            _rounds(name, _contestants(options.peers), targets, effort, load, recorder, quick=options.quick)
            for name in options.only
        ]
        for number in range(1, effort.rounds + 1):
            for rounds in models:
                rounds.run(number)
    except BenchmarkFailed as failure:
        print(f"bench-peers: {failure}", file=sys.stderr)
        return failure.exit_code
    return _show(recorder, targets, warning, markdown=options.markdown)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-peers", description="nimify against its peers, as ratios.")
    add = parser.add_argument
    add("--only", type=model_names, default=tuple(MODELS), help=f"models from {','.join(MODELS)} (default: all)")
    add("--peers", type=_peers, default=tuple(PEERS), help=f"from {','.join(PEERS)} (default: all)")
    add("--quick", action="store_true", help="only what the targets need, 2 seconds each")
    add("--connections", type=numbers, help="of the load generator (default: 1,8,64)")
    add("--seconds", type=positive, help="for each measurement (default: 4)")
    add("--rounds", type=positive, help="how often everything is measured (default: 3)")
    add("--markdown", action="store_true", help="print the tables in Markdown")
    return parser.parse_args()


def _peers(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in PEERS]:
        raise argparse.ArgumentTypeError(f"there is no peer '{unknown[0]}'; there are: {', '.join(PEERS)}")
    return names


def _effort(options: argparse.Namespace) -> Effort:
    usual = QUICK if options.quick else FULL
    return Effort(
        rounds=options.rounds or usual.rounds,
        seconds=options.seconds or usual.seconds,
        connections=options.connections or usual.connections,
    )


def concerns(target: Target, models: Sequence[str], peers: Sequence[str]) -> bool:
    """Whether a target is about the models and peers that were asked for."""
    named = {rival.removesuffix(BATCHED) for rival in target.rivals}
    return target.model in models and bool(named & {*peers, RAW})


def _load_warning() -> str:
    """What to know of the machine before its figures are believed; empty when it was idle."""
    over_a_minute = os.getloadavg()[0]
    if over_a_minute <= _QUIET_LOAD:
        return ""
    return (
        f"WARNING: the machine is loaded: in the last minute {over_a_minute:.1f} processes on average wanted to run, "
        f"on {os.cpu_count()} cores. Figures taken now mean little; run it again when the machine is quiet.\n"
    )


def _contestants(peers: Sequence[str]) -> list[Contestant]:
    ours = nimify_contestant(Protocol.JSON, Protocol.BINARY, Protocol.GRPC)
    return [ours, *(contestant for peer in peers for contestant in PEERS[peer]())]


def _rounds(
    name: str,
    contestants: Sequence[Contestant],
    targets: Sequence[Target],
    effort: Effort,
    load: LoadPrograms,
    recorder: Recorder,
    *,
    quick: bool,
) -> Rounds:
    model = MODELS[name]
    make_bundle(model)
    starting = needed(targets, name) if quick else {contestant.name for contestant in contestants}
    return Rounds(
        model,
        questions_for(model),
        [contestant for contestant in contestants if contestant.name in starting],
        effort,
        load,
        recorder,
        wanted=_wanted(targets) if quick else lambda _cell: True,
        raw_memory=True,
        dispensable=frozenset(starting - {NIMIFY}),
    )


def needed(targets: Sequence[Target], model: str) -> set[str]:
    """The servers without which the targets of a model cannot be judged, nimify included.

    Settings of peers that lose to their other setting everywhere are not among them.
    """
    rivals = {rival for target in targets if target.model == model for rival in target.rivals}
    return ({NIMIFY} | rivals) - SLOWER_SETTINGS - {RAW}


def _wanted(targets: Sequence[Target]) -> Callable[[Cell], bool]:
    cells = {cell for target in targets for cell in target.cells()}
    return cells.__contains__


def _versions(peer: str, python: str) -> str:
    """The version of what a peer is, in its own environment."""
    show = f"import importlib.metadata as m; print(m.version({_PACKAGES.get(peer, peer)!r}), m.version('onnxruntime'))"
    return subprocess.run([python, "-c", show], capture_output=True, text=True, check=False).stdout.strip()


def _facts(versions: Mapping[str, str], options: argparse.Namespace, effort: Effort) -> dict[str, Any]:
    """What was run and where, without naming the machine."""
    return {
        **facts(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "nimify": version("nimify-anything"),
        "onnxruntime": version("onnxruntime"),
        "peers_and_their_onnxruntime": dict(versions),
        "models": list(options.only),
        "quick": options.quick,
        "rounds": effort.rounds,
        "seconds": effort.seconds,
        "connections": list(effort.connections),
    }


def _show(recorder: Recorder, targets: Sequence[Target], warning: str, *, markdown: bool) -> int:
    draw = as_markdown if markdown else as_text
    judgements = judged(recorder.records, targets)
    for table in (*tables(recorder.records), scorecard(judgements)):
        print(draw(table), end="\n\n")
    verdicts = [verdict for _, verdict in judgements if verdict]
    missed = sum(not verdict.met for verdict in verdicts)
    unknown = len(judgements) - len(verdicts)
    print(f"Of {len(judgements)} targets: {len(verdicts) - missed} met, {missed} missed, {unknown} not measured.")
    print(f"~ marks figures whose every round ran while unrelated work took over {NOISY_CORES} cores.")
    print("Columns that end in 'here' are about this machine at this hour; only the ratios travel.")
    failed = list(_failures(recorder.records))
    for line in failed:
        print(line)
    print(f"Every measurement: {recorder.path.relative_to(ROOT)}")
    print(warning, end="")
    return 1 if missed or failed else 0


def _failures(records: Sequence[Record]) -> Iterator[str]:
    for record in records:
        if isinstance(record, Failure):
            yield f"Not measured to the end: {record.model}, round {record.round}: {record.reason}."
        if isinstance(record, Load) and record.result.errors:
            yield (
                f"{record.result.errors} requests failed: {record.contestant} {record.protocol}, {record.model}, "
                f"{record.connections} connections, round {record.round}."
            )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
