"""Tuning of real bundles on the real engine: the direction is right, and what was found goes through the plan."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from nimify import ModelConfig, Nimifier, NIMService
from nimify.config import TunedValue, TuningConfig
from nimify.core.tuning import TuningWish
from nimify.errors import BundleEdited, BundleError, ConfigError
from nimify.loadtest.objective import Objective
from nimify.serving.spec import ServiceSpec
from nimify.testing import models
from nimify.testing.graph_builder import GraphBuilder
from nimify.tuning.candidate import BATCH, SETTINGS, Candidate
from nimify.tuning.repeats import Change, Samples
from nimify.tuning.report import TuningReport
from nimify.tuning.staged import staged
from nimify.tuning.trial import Trial

OWN_WORDS = "# Owned by the vision team.\ndescription: Ours.  # as we call it\n"
QUICK: dict[str, Any] = {"settings": ("batch",), "duration_s": 0.3, "warmup_s": 0.1, "repeats": 2, "budget_s": 600.0}


def cliff(rows: int = 4) -> onnx.ModelProto:
    """A model that is quick for a few rows, and takes hundreds of times as long for more."""
    graph = GraphBuilder("cliff")
    x = graph.input("x", "FP32", ["batch", 4])
    count = graph.op("Gather", graph.op("Shape", x), graph.constant(0, "int64"))
    is_many = graph.op("Cast", graph.op("Greater", count, graph.constant(rows, "int64")), to=onnx.TensorProto.INT64)
    many = graph.op("Mul", is_many, graph.constant(60_000, "int64"))
    trips = graph.op("Add", many, graph.constant(300, "int64"))
    body = GraphBuilder("body")
    body.input("step", "INT64", [])
    body.input("go_on", "BOOL", [])
    state = body.input("state", "FP32", ["batch", 4])
    body.output(body.op("Identity", "go_on", out="go_on_out"), "BOOL", [])
    # Goes to the same number, however often it is repeated: what rows give does not depend on how many they are.
    halved = body.op("Mul", state, body.constant([0.5]))
    body.output(body.op("Add", halved, body.constant([1.0]), out="state_out"), "FP32", ["batch", 4])
    always = graph.constant(True, "bool")
    graph.output(graph.op("Loop", trips, always, x, out="y", body=body.graph()), "FP32", ["batch", 4])
    return graph.model()


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., NIMService]:
    """Makes a bundle of a model, with words of its owner's in its nimify.yaml."""

    def made(model: onnx.ModelProto, settings: str = "") -> NIMService:
        path = models.save(model, tmp_path / "model.onnx")
        Nimifier().create(path, tmp_path / "bundle")
        (tmp_path / "bundle" / "nimify.yaml").write_text(OWN_WORDS + settings)
        return Nimifier().create(tmp_path / "bundle", force=True)

    return made


def tuned_before(service: NIMService, rows: int) -> None:
    """Leave what an earlier run might have found."""
    section = TuningConfig(
        objective="p99=1ms", model=service.spec.model_digest, max_batch_size=TunedValue(value=rows, reason="Earlier.")
    )
    Nimifier(ModelConfig(tuning=section)).draft(service.folder, force=True).write()


def tuned(service: NIMService, wish: TuningWish) -> TuningReport:
    """What tuning found; again, where a machine that was busy elsewhere left nothing that is beyond its noise."""
    for _ in range(3):
        report = NIMService.open(service.folder).tune(wish)
        if report.changes:
            break
    return report


def decision(service: NIMService, key: str) -> dict[str, Any]:
    return next(row for row in NIMService.open(service.folder).decisions if row["key"] == key)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_model_that_gains_from_batches_gets_a_larger_one(make: Callable[..., NIMService]) -> None:
    """A run takes as long for one row as for many: merging more requests multiplies what the service can do."""
    service = make(models.slow(6000))
    tuned_before(service, 4)
    assert NIMService.open(service.folder).spec.max_batch_size == 4

    report = tuned(service, TuningWish(objective="p50=150ms", **QUICK))

    (change,) = report.changes
    assert (change.setting, change.before) == (BATCH, 4)
    assert change.after > 4
    assert change.gained.median > change.otherwise.median
    assert NIMService.open(service.folder).spec.max_batch_size == change.after
    found = decision(service, BATCH)
    assert (found["basis"], found["reason"]) == ("measured", report.reason(change))
    text = (service.folder / "nimify.yaml").read_text()
    assert text.startswith(OWN_WORDS)
    assert text.count("tuning:") == 1
    assert "Earlier." not in text
    assert not Nimifier().draft(service.folder).check()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_model_that_suffers_from_batches_gets_a_smaller_one(make: Callable[..., NIMService]) -> None:
    """More than four rows cost hundreds of times as much as four; nothing is written in a dry run."""
    service = make(cliff())
    before = {path: path.read_bytes() for path in service.folder.rglob("*") if path.is_file()}

    report = tuned(service, TuningWish(objective="p50=60ms", dry_run=True, **QUICK))

    (change,) = report.changes
    assert (change.setting, change.before, change.after) == (BATCH, 32, 4)
    assert report.chosen.max_batch_size == 4
    assert {path: path.read_bytes() for path in service.folder.rglob("*") if path.is_file()} == before
    document = json.loads(json.dumps(report.to_dict()))
    assert document["changes"][0]["reason"].startswith("`nimify tune` measured ")
    assert document["trials"][0]["verdict"] == "as it is"
    assert len(document["repeated"]) == 2


def test_time_that_is_too_short_changes_nothing(make_bundle: Callable[..., Path]) -> None:
    """What was not measured again is not sure, and that is said."""
    wish = TuningWish(objective="p50=1s", settings=("batch",), duration_s=0.1, warmup_s=0.0, budget_s=0.1)
    report = NIMService.open(make_bundle("tiny")).tune(wish)
    assert report.changes == ()
    assert "was over" in report.ended
    assert [trial.verdict for trial in report.trials] == ["as it is"]


def test_what_the_owner_asks_for_is_left_alone(make_bundle: Callable[..., Path]) -> None:
    """When that is everything, there is nothing to do; nothing is served for it."""
    service = NIMService.open(make_bundle("tiny", batching={"max_batch_size": 8}, threads=1))
    with pytest.raises(ConfigError, match="nothing to tune") as caught:
        service.tune(TuningWish(settings=("batch", "threads")))
    assert "nimify.yaml asks for it" in str(caught.value)


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (TuningWish(settings=("size",)), "'size' cannot be tuned"),
        (TuningWish(objective="fast"), "no objective"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(make_bundle: Callable[..., Path], wish: TuningWish, says: str) -> None:
    """Before anything is measured."""
    with pytest.raises(ConfigError, match=says):
        NIMService.open(make_bundle("tiny")).tune(wish)


def test_requests_that_are_not_merged_leave_no_batch_to_tune(make_bundle: Callable[..., Path]) -> None:
    """The model decides that, and the reason says so."""
    service = NIMService.open(make_bundle("fixed-batch"))
    with pytest.raises(ConfigError, match="Requests are not merged"):
        service.tune(TuningWish(settings=("batch", "delay")))


def test_a_bundle_that_was_edited_is_refused_at_once(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """What could not be written at the end is not measured for."""
    service = NIMService.open(shutil.copytree(make_bundle("tiny"), tmp_path / "bundle"))
    (service.folder / "openapi.json").write_text("{}")
    with pytest.raises(BundleEdited):
        service.tune(TuningWish())


def test_a_bundle_that_is_out_of_date_is_refused_at_once(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """What is measured must be what nimify.yaml asks for."""
    service = NIMService.open(shutil.copytree(make_bundle("tiny"), tmp_path / "bundle"))
    with (service.folder / "nimify.yaml").open("a") as stream:
        stream.write("threads: 1\n")
    with pytest.raises(BundleError, match=r"not what its nimify\.yaml asks for"):
        service.tune(TuningWish())


def test_what_the_plan_would_refuse_is_not_tried(make_bundle: Callable[..., Path]) -> None:
    """A second process does not fit into the memory that the owner allows."""
    service = NIMService.open(make_bundle("tiny", resources={"memory_limit": "160Mi"}))
    (memory,) = [row["value"] for row in service.decisions if row["key"] == "resources.memory"]
    assert memory <= 160 << 20
    wish = TuningWish(objective="p50=5s", settings=("instances",), duration_s=0.2, warmup_s=0.0, repeats=2)
    report = service.tune(wish)
    assert report.changes == ()
    assert [trial.verdict.partition(":")[0] for trial in report.trials[1:]] in ([], ["not tried"])


def test_a_candidate_is_served_beside_the_bundle(make_bundle: Callable[..., Path]) -> None:
    """The folder that is served differs in what the service reads of the plan, and the bundle in nothing."""
    service = NIMService.open(make_bundle("tiny"))
    candidate = Candidate(max_batch_size=7, max_queue_delay_us=100, threads=3, instances=2)
    with staged(service.folder, candidate) as folder:
        spec = ServiceSpec.load(folder)
        assert Candidate.of(spec) == candidate
        assert (folder / spec.model_file).read_bytes() == (service.folder / spec.model_file).read_bytes()
        kept = folder
    assert not kept.exists()
    assert ServiceSpec.load(service.folder) == service.spec
    assert (service.folder / service.spec.model_file).is_file()


def test_create_with_force_keeps_what_was_tuned(make: Callable[..., NIMService], tmp_path: Path) -> None:
    """The section is the owner's like the rest of nimify.yaml: other settings may be overruled around it."""
    service = make(models.tiny(), "version: 2.0.0\n")
    tuned_before(service, 4)
    Nimifier(ModelConfig(version="3.0.0")).create(tmp_path / "model.onnx", service.folder, force=True)
    made = NIMService.open(service.folder)
    assert (made.spec.version, made.spec.max_batch_size) == ("3.0.0", 4)
    Nimifier().create(tmp_path / "model.onnx", service.folder, force=True)
    assert NIMService.open(service.folder).spec.max_batch_size == 4


def test_reasons_hold_both_sides_of_a_change() -> None:
    """Whoever reads the plan sees what was gained, how sure it is, and where it was measured."""
    change = Change(BATCH, 32, 4, Samples((300.0, 310.0)), Samples((0.0, 0.0)))
    start = Candidate(32, 0, 0, 1)
    report = TuningReport(
        objective=Objective("p99", 0.02),
        protocol="json",
        inputs="batch-1",
        machine="A CPU",
        cpus=2,
        kept={},
        start=start,
        trials=(Trial(start, None, "as it is"),),
        repeated={},
        changes=(change,),
        ended="",
        took_s=1.0,
    )
    assert report.reason(change) == (
        "`nimify tune` measured 305 requests in a second with p99 within 20.0 ms, against none with 32: "
        "medians of 2, whose spread is 10, on A CPU with 2 CPUs."
    )
    assert report.chosen == start.having(BATCH, 4)
    assert set(report.to_dict()["chosen"]) == set(SETTINGS)
