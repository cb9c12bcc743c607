"""The command that compares with peers: what it measures of what was asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from benchmarks import contestants, models
from benchmarks.cells import RAW, Cell
from benchmarks.contestants import Contestant, Launch
from benchmarks.exchange import Protocol
from benchmarks.failure import RunFailed
from benchmarks.load import LoadPrograms
from benchmarks.models import MODELS
from benchmarks.peer_contestants import PEERS
from benchmarks.peer_serve import concerns, needed
from benchmarks.records import Failure, Recorder
from benchmarks.rounds import Effort, Rounds, questions_for
from benchmarks.targets import NIMIFY, TARGETS
from benchmarks.wrk import Wrk


def test_every_target_is_about_a_server_that_there_is() -> None:
    """Each rival is a setting of a peer, and speaks the protocol that it is to be asked in."""
    spoken = {contestant.name: contestant.protocols for make in PEERS.values() for contestant in make()}
    spoken[NIMIFY] = (Protocol.JSON, Protocol.BINARY, Protocol.GRPC)
    for cell in (cell for target in TARGETS for cell in target.cells()):
        assert cell.contestant == RAW or cell.protocol in spoken[cell.contestant], cell


def test_a_quick_run_starts_only_what_targets_need() -> None:
    """No peer for text, only Triton for image, and of settings not the slower one."""
    assert needed(TARGETS, "text") == {NIMIFY}
    assert needed(TARGETS, "image") == {NIMIFY, "triton", "triton-batched"}
    assert {"fastapi", "mlserver", "mlserver-batched", "litserve-batched"} <= needed(TARGETS, "tiny")
    assert "litserve" not in needed(TARGETS, "tiny")


def test_a_narrower_run_judges_only_what_it_is_about() -> None:
    """Targets of other models and of peers that were not asked for are left out; the raw loop is always there."""
    chosen = [target for target in TARGETS if concerns(target, ("tiny", "text"), ("mlserver",))]
    assert {target.rivals for target in chosen} == {("mlserver", "mlserver-batched"), (RAW,)}
    assert "image" not in {target.model for target in chosen}


def broken_rounds(folder: Path, *, dispensable: bool) -> Rounds:
    """A round of one server, which ends at once."""

    def launch(*_: object) -> Launch:
        return Launch([sys.executable, "-c", "raise SystemExit(3)"])

    def nothing(_: Cell) -> bool:
        return False

    recorder = Recorder(folder / "records.jsonl")
    recorder.begin({})
    return Rounds(
        MODELS["tiny"],
        questions_for(MODELS["tiny"]),
        [Contestant("broken", (Protocol.JSON,), launch)],
        Effort(rounds=1, seconds=1, connections=(1,)),
        LoadPrograms(Wrk("wrk"), Wrk("wrk")),
        recorder,
        wanted=nothing,
        dispensable=frozenset({"broken"} if dispensable else ()),
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(models, "MODELS_DIR", tmp_path / "models")
    monkeypatch.setattr(contestants, "RESULTS_DIR", tmp_path / "results")
    return tmp_path


def test_a_round_goes_on_without_a_peer_that_fails(folder: Path) -> None:
    """What went wrong is recorded with its reason."""
    rounds = broken_rounds(folder, dispensable=True)
    rounds.run(1)
    (failure,) = rounds.recorder.records
    assert isinstance(failure, Failure)
    assert failure.reason.startswith("broken: it ended with status 3; its log is ")


def test_a_round_ends_when_nimify_fails(folder: Path) -> None:
    """Without the server that all are compared with there is nothing to go on for."""
    with pytest.raises(RunFailed, match="status 3"):
        broken_rounds(folder, dispensable=False).run(1)
