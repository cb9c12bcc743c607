"""golden/: what is recorded is what is sent, comes back exactly, and survives another CPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nimify.artifacts.comparison import compare
from nimify.artifacts.golden import INDEX, golden_artifacts, kept, load_golden, record
from nimify.errors import BundleDamaged
from nimify.planning.tolerances import EXACT, Tolerance, default_tolerance
from nimify.tensors import DATATYPES, fp32_to_bf16
from nimify.testing import models

Prepare = Callable[..., Any]


def write_golden(prepared: Any, folder: Path) -> None:
    for artifact in golden_artifacts(prepared.plan, prepared.analysis.golden):
        path = folder / artifact.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(artifact.content)


@pytest.mark.parametrize("kind", models.ALL)
def test_recorded_cases_come_back_exactly(kind: str, prepare: Prepare, tmp_path: Path) -> None:
    """Every tensor is read back bit by bit, whatever its datatype and form."""
    prepared = prepare(kind)
    write_golden(prepared, tmp_path)
    golden = load_golden(tmp_path)
    assert golden is not None
    assert len(golden.cases) == len(prepared.analysis.golden) > 0
    for recorded, case in zip(golden.cases, prepared.analysis.golden, strict=True):
        for tensors, originals in ((recorded.case.inputs, case.inputs), (recorded.case.outputs, case.outputs)):
            for name, array in originals.items():
                assert tensors[name].dtype == array.dtype
                assert tensors[name].tolist() == array.tolist()


def test_no_case_has_more_rows_than_the_service_takes(prepare: Prepare) -> None:
    """With a batch of one, a request of three rows would be refused, and the bundle would break its own promise."""
    prepared = prepare("tiny", batching={"max_batch_size": 1})

    names = {artifact.path for artifact in golden_artifacts(prepared.plan, prepared.analysis.golden)}

    assert {case.name for case in prepared.analysis.golden} == {"batch-1", "batch-3"}
    assert names == {"golden/golden.json", "golden/batch-1.request.json", "golden/batch-1.response.json"}


@pytest.mark.parametrize(("kind", "suffix"), [("tiny", "json"), ("strings", "json"), ("fp16", "bin"), ("image", "bin")])
def test_json_is_used_where_it_can_carry_the_tensors(kind: str, suffix: str, prepare: Prepare) -> None:
    """FP16 has no JSON form in the protocol, and images would be long."""
    prepared = prepare(kind)
    paths = {artifact.path for artifact in golden_artifacts(prepared.plan, prepared.analysis.golden)}
    assert f"golden/batch-1.request.{suffix}" in paths


def test_values_that_json_cannot_spell_are_recorded_in_binary(prepare: Prepare) -> None:
    """NaN would become null, and come back as nothing."""
    prepared = prepare("tiny")
    case = prepared.analysis.golden[0]
    recorded = record(prepared.plan.service, replace(case, outputs={"y": np.full((1, 4), np.nan, "<f4")}))
    assert recorded.response.header_length is not None


def test_answers_within_tolerance_keep_the_recorded_file(prepare: Prepare, tmp_path: Path) -> None:
    """Another CPU's last bits change nothing; another answer, or another model, is recorded anew."""
    prepared = prepare("tiny")
    write_golden(prepared, tmp_path)
    previous = load_golden(tmp_path)
    (case, *_) = prepared.analysis.golden
    close = replace(case, outputs={"y": case.outputs["y"] * np.float32(1 + 1e-6)})
    far = replace(case, outputs={"y": case.outputs["y"] + np.float32(1)})
    other_plan = replace(prepared.plan, service=replace(prepared.plan.service, model_digest="sha256:other"))

    assert kept(prepared.plan, [close], previous)[0].outputs["y"].tolist() == case.outputs["y"].tolist()
    assert kept(prepared.plan, [far], previous) == (far,)
    assert kept(other_plan, [close], previous) == (close,)
    assert kept(prepared.plan, [close], None) == (close,)


def test_other_inputs_are_recorded_anew(prepare: Prepare, tmp_path: Path) -> None:
    """A case that asks something else is another case, whatever its name."""
    prepared = prepare("tiny")
    write_golden(prepared, tmp_path)
    case = replace(prepared.analysis.golden[0], inputs={"x": np.zeros((1, 4), "<f4")})
    assert kept(prepared.plan, [case], load_golden(tmp_path)) == (case,)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"[]",
        b"{}",
        b'{"tolerances": {}, "model_digest": "", "cases": [{"name": "x"}]}',
        b'{"tolerances": {"y": 1}, "model_digest": "", "cases": []}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_index_is_a_damaged_bundle(damage: bytes, tmp_path: Path) -> None:
    """Nothing that the index may hold ends in a traceback."""
    (tmp_path / "golden").mkdir()
    (tmp_path / INDEX).write_bytes(damage)
    with pytest.raises(BundleDamaged, match="golden"):
        load_golden(tmp_path)


def test_the_index_cannot_reach_outside(prepare: Prepare, tmp_path: Path) -> None:
    """A case names a file of its own folder, and nothing else."""
    write_golden(prepare("tiny"), tmp_path)
    index = json.loads((tmp_path / INDEX).read_bytes())
    index["cases"][0]["request"]["file"] = "../golden/batch-1.request.json"
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(BundleDamaged):
        load_golden(tmp_path)


def test_no_golden_folder_is_no_golden(tmp_path: Path) -> None:
    """A bundle without recorded requests is a bundle all the same."""
    assert load_golden(tmp_path) is None


FP32 = DATATYPES["FP32"]


@pytest.mark.parametrize(
    ("expected", "actual", "agrees"),
    [
        ([1.0], [1.00005], True),
        ([1.0], [1.001], False),
        ([0.0], [1e-6], True),
        ([np.nan], [np.nan], True),
        ([np.inf, -np.inf], [np.inf, -np.inf], True),
        ([np.inf], [-np.inf], False),
        ([np.nan], [1.0], False),
        ([1.0, 2.0], [1.0], False),
    ],
)
def test_floats_agree_within_their_tolerance(expected: list[float], actual: list[float], agrees: bool) -> None:
    """Relative and absolute room, and special values that agree only with themselves."""
    difference = compare(np.array(expected, "<f4"), np.array(actual, "<f4"), FP32, default_tolerance(FP32))
    assert (difference is None) is agrees


def test_bf16_is_compared_by_value_not_by_bits() -> None:
    """One step of BF16 is within its tolerance, although the bits differ."""
    datatype = DATATYPES["BF16"]
    expected = fp32_to_bf16(np.array([1.0], "<f4"))
    assert compare(expected, expected + np.uint16(1), datatype, default_tolerance(datatype)) is None
    assert compare(expected, expected + np.uint16(64), datatype, default_tolerance(datatype)) is not None


def test_whole_numbers_and_bytes_must_be_equal() -> None:
    """One off is different, and the sentence says where."""
    assert default_tolerance(DATATYPES["INT64"]) == default_tolerance(DATATYPES["BYTES"]) == EXACT
    difference = compare(np.array([1, 2]), np.array([1, 3]), DATATYPES["INT64"], Tolerance(1.0, 1.0))
    assert difference == "differs in 1 of 2 elements; element 1 is 3 instead of 2."
    texts = np.array([b"a"], object), np.array([b"b"], object)
    assert compare(*texts, DATATYPES["BYTES"], EXACT) is not None
