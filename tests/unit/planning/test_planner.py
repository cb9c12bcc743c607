"""Decisions: each follows from the analysis or from what was asked for, and says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nimify.analysis.analysis import Analysis, BatchAxis, Trial
from nimify.config import ModelConfig
from nimify.errors import ConfigError, UnsupportedModel
from nimify.formats.format import SourceFile
from nimify.planning.assets import collect_assets
from nimify.planning.execution import is_data_dependent
from nimify.planning.plan import Basis, Decision, ServicePlan
from nimify.planning.planner import plan
from nimify.serving.spec import Limits, ServiceSpec
from nimify.testing import models

Analyse = Callable[[str], Analysis]


def decision(made: ServicePlan, key: str) -> Decision:
    return next(decision for decision in made.decisions if decision.key == key)


@pytest.mark.parametrize("kind", models.ALL)
def test_every_kind_of_model_gets_a_plan_that_the_service_can_read(kind: str, analyse: Analyse) -> None:
    """The service's part of the plan survives JSON, and every decision has a reason."""
    made = plan(analyse(kind), ModelConfig())
    read = ServiceSpec.from_dict(json.loads(json.dumps(made.to_dict()))["service"])
    assert read == made.service
    assert all(decision.reason.endswith(".") for decision in made.decisions)


@pytest.mark.parametrize(
    ("kind", "rows"), [("tiny", 32), ("digits", 32), ("image", 8), ("text", 16), ("fixed-batch", 0)]
)
def test_batch_size_follows_the_size_of_a_row(kind: str, rows: int, analyse: Analyse) -> None:
    """Small rows come 32 at a time, images 8, texts 16, and a fixed first axis is never merged."""
    assert plan(analyse(kind), ModelConfig()).service.max_batch_size == rows


@pytest.mark.parametrize(("kind", "depends"), [("digits", False), ("image", False), ("if", True), ("loop", True)])
def test_a_model_whose_run_time_may_follow_from_values_is_marked(kind: str, depends: bool, analyse: Analyse) -> None:
    """The service keeps such a model off its event loop, however quick it looked at the start."""
    assert plan(analyse(kind), ModelConfig()).service.data_dependent is depends


def test_operators_of_unknown_domains_count_as_data_dependent() -> None:
    """Nobody knows what they do."""
    assert is_data_dependent(["Add", "acme::Spin"])
    assert not is_data_dependent(["Add", "MatMul"])


def test_a_plan_holds_nothing_that_was_measured_in_time(analyse: Analyse) -> None:
    """Another machine, with other measurements, makes the same plan."""
    analysis = analyse("tiny")
    slower = replace(analysis, trial=Trial(load_s=99.0, run_s=9.0, peak_memory_bytes=1 << 40))
    assert plan(slower, ModelConfig()).to_dict() == plan(analysis, ModelConfig()).to_dict()


@pytest.mark.parametrize(
    ("asked", "key", "value"),
    [
        ({"name": "mine"}, "name", "mine"),
        ({"batching": {"max_batch_size": 4}}, "batching.max_batch_size", 4),
        ({"batching": {"max_batch_size": 0}}, "batching.max_batch_size", 0),
        ({"batching": {"max_queue_delay_us": 50}}, "batching.max_queue_delay_us", 50),
        ({"threads": 3}, "threads", 3),
        ({"limits": {"request_timeout_s": 5}}, "limits.request_timeout_s", 5.0),
    ],
)
def test_what_was_asked_for_is_done_and_said_so(
    asked: dict[str, Any], key: str, value: object, analyse: Analyse
) -> None:
    """A setting overrides the decision, and becomes its reason."""
    made = decision(plan(analyse("tiny"), ModelConfig.build(asked)), key)
    assert (made.value, made.basis) == (value, Basis.ASKED)
    assert made.reason.startswith("You asked for it")


def test_asking_for_batches_that_the_model_cannot_take_is_an_error(analyse: Analyse) -> None:
    """An inapplicable wish names its setting and the reason."""
    with pytest.raises(ConfigError, match=r"batching\.max_batch_size: 8 rows .* cannot take batches"):
        plan(analyse("fixed-batch"), ModelConfig.build({"batching": {"max_batch_size": 8}}))


def test_a_queue_delay_without_batching_is_an_error(analyse: Analyse) -> None:
    """Waiting for company makes no sense when requests are run one by one."""
    asked = {"batching": {"max_batch_size": 0, "max_queue_delay_us": 100}}
    with pytest.raises(ConfigError, match=r"batching\.max_queue_delay_us"):
        plan(analyse("tiny"), ModelConfig.build(asked))


def test_the_name_comes_from_the_file(analyse: Analyse) -> None:
    """Without a wish, the file's name becomes a valid service name."""
    assert plan(analyse("tiny"), ModelConfig()).service.name == "my-model"


def test_a_large_request_raises_the_body_limit(analyse: Analyse) -> None:
    """A request that may be sent must also fit."""
    analysis = analyse("image")
    few = plan(analysis, ModelConfig()).service.limits.max_body_bytes
    many = plan(analysis, ModelConfig.build({"batching": {"max_batch_size": 128}})).service.limits.max_body_bytes
    assert few == Limits().max_body_bytes
    assert many >= 128 * 3 * 224 * 224 * 16


def test_the_reason_of_the_batch_axis_is_passed_on(analyse: Analyse) -> None:
    """The plan says in the analysis's words why requests are not merged."""
    analysis = replace(analyse("tiny"), batch_axis=BatchAxis(False, "Rows influence each other.", "measured"))
    made = decision(plan(analysis, ModelConfig()), "batching.max_batch_size")
    assert "Rows influence each other." in made.reason
    assert made.basis is Basis.MEASURED


def test_external_data_keeps_its_location_beside_the_model(analyse: Analyse) -> None:
    """The model is renamed for the repository; the files that it names are not."""
    paths = [file.path for file in plan(analyse("external-data"), ModelConfig(name="x")).service.model_files]
    assert paths == ["model_repository/x/1/model.onnx", f"model_repository/x/1/{models.DATA_FILE}"]


def test_external_data_with_the_name_of_the_model_is_refused(analyse: Analyse) -> None:
    """Two files cannot lie in one place."""
    analysis = analyse("external-data")
    files = (analysis.model.files[0], SourceFile("model.onnx", 4, "0" * 64))
    with pytest.raises(UnsupportedModel, match=r"external data is called 'model\.onnx'"):
        plan(replace(analysis, model=replace(analysis.model, files=files)), ModelConfig())


def test_files_named_by_settings_move_into_the_bundle(tmp_path: Path) -> None:
    """Settings follow their files, and two files of one name get two places."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text("def make(**options): ...\n")
    (tmp_path / "s.npz").write_bytes(b"")
    asked = {"pipeline": {"after": ["a/own.py:make", "b/own.py:make", "softmax"]}, "golden": {"sample": "s.npz"}}
    config, assets = collect_assets(ModelConfig.build(asked), tmp_path)
    assert [step.use for step in config.pipeline.after] == [
        "processors/own.py:make",
        "processors/own-2.py:make",
        "softmax",
    ]
    assert config.golden.sample == "golden/s.npz"
    assert {asset.path: asset.source.parent.name for asset in assets} == {
        "golden/s.npz": tmp_path.name,
        "processors/own-2.py": "b",
        "processors/own.py": "a",
    }


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A setting that names no file is an error that says which."""
    with pytest.raises(ConfigError, match=r"golden\.sample: there is no file 'gone\.npz'"):
        collect_assets(ModelConfig.build({"golden": {"sample": "gone.npz"}}), tmp_path)
