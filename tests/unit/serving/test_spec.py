"""`ServiceSpec` and its file: what is written is what is read, and damage is told in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimify.errors import BundleDamaged
from nimify.metrics.collectors.step import CollectorStep
from nimify.serving.spec import (
    PLAN_FILE,
    License,
    Limits,
    ModelFile,
    Pipeline,
    ProcessorStep,
    ServiceSpec,
)
from nimify.tensors import DATATYPES, Signature, TensorSpec

TEXT = st.text(max_size=8)
STEPS = st.builds(
    ProcessorStep,
    use=TEXT,
    options=st.dictionaries(
        TEXT, st.integers() | TEXT | st.booleans() | st.none() | st.lists(TEXT, max_size=2), max_size=2
    ),
)
COLLECTORS = st.builds(CollectorStep, TEXT, st.dictionaries(TEXT, TEXT, max_size=2), st.floats(0.1, 3600))
TENSORS = st.builds(
    TensorSpec,
    name=TEXT,
    datatype=st.sampled_from(list(DATATYPES.values())),
    shape=st.lists(st.none() | TEXT | st.integers(0, 2**31), max_size=4).map(tuple),
)
SIGNATURES = st.builds(
    Signature, inputs=st.lists(TENSORS, max_size=2).map(tuple), outputs=st.lists(TENSORS, max_size=2).map(tuple)
)
SPECS = st.builds(
    ServiceSpec,
    name=TEXT,
    version=TEXT,
    model_version=TEXT,
    model_file=TEXT,
    model_files=st.lists(st.builds(ModelFile, TEXT, TEXT, st.integers(0)), max_size=2).map(tuple),
    model_digest=TEXT,
    engine=TEXT,
    signature=SIGNATURES,
    api=SIGNATURES,
    max_batch_size=st.integers(0, 100),
    pipeline=st.builds(Pipeline, st.lists(STEPS, max_size=2).map(tuple), st.lists(STEPS, max_size=2).map(tuple)),
    collectors=st.lists(COLLECTORS, max_size=2).map(tuple),
    limits=st.builds(Limits, max_body_bytes=st.integers(1), drain_s=st.floats(0, 1e9)),
    license=st.builds(License, TEXT, TEXT, TEXT),
)


def example() -> ServiceSpec:
    signature = Signature(
        (TensorSpec("x", DATATYPES["FP32"], ("batch", 4)),), (TensorSpec("y", DATATYPES["BF16"], ()),)
    )
    return ServiceSpec(
        name="m",
        version="1.0.0",
        model_version="1",
        model_file="m.onnx",
        model_files=(ModelFile("m.onnx", "00", 3),),
        model_digest="sha256:00",
        engine="onnxruntime",
        signature=signature,
        api=signature,
    )


def write(bundle: Path, document: Any) -> Path:
    (bundle / PLAN_FILE).write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return bundle


@given(SPECS)
def test_a_specification_survives_json(spec: ServiceSpec) -> None:
    """`from_dict(json(to_dict(s))) == s`."""
    assert ServiceSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_a_specification_is_loaded_from_a_bundle(tmp_path: Path) -> None:
    """Out of the `service` part of plan.json; the rest of that file is for others."""
    assert ServiceSpec.load(write(tmp_path, {"service": example().to_dict(), "model": {}})) == example()


def test_a_plan_from_before_there_were_collectors_has_none(tmp_path: Path) -> None:
    """Bundles are served by later releases too."""
    assert ServiceSpec.load(write(tmp_path, changed(collectors=...))) == example()


@pytest.mark.parametrize("missing", ["folder", "file"])
def test_a_folder_without_a_plan_is_no_bundle(tmp_path: Path, missing: str) -> None:
    """The remedy says how to make one."""
    bundle = tmp_path / "bundle" if missing == "folder" else tmp_path
    with pytest.raises(BundleDamaged, match=r"is not a bundle: it has no plan\.json") as caught:
        ServiceSpec.load(bundle)
    assert "nimify create" in caught.value.remedy


def test_a_plan_that_cannot_be_read_is_not_missing(tmp_path: Path) -> None:
    """Whoever lacks permissions, or has a folder in its place, is not sent off to make a new bundle."""
    (tmp_path / PLAN_FILE).mkdir()
    with pytest.raises(BundleDamaged, match=r"plan\.json' cannot be read \(Is a directory\)") as caught:
        ServiceSpec.load(tmp_path)
    assert "nimify create" not in caught.value.remedy


def changed(**changes: Any) -> dict[str, Any]:
    service = {**example().to_dict(), **changes}
    return {"service": {key: value for key, value in service.items() if value is not ...}}


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{",
        "null",
        "[]",
        '"service"',
        "{}",
        "[" * 100_000,
        {"service": None},
        {"service": []},
        {"service": {}},
        changed(name=...),
        changed(color="red"),
        changed(signature=None),
        changed(signature={"inputs": [{"name": "x", "datatype": "FLOAT", "shape": []}], "outputs": []}),
        changed(signature={"inputs": [{"name": "x", "datatype": ["FP32"], "shape": []}], "outputs": []}),
        changed(signature={"inputs": [{"name": "x", "datatype": "FP32", "shape": None}], "outputs": []}),
        changed(pipeline={"before": []}),
        changed(pipeline={"before": [], "after": [{"name": "softmax"}]}),
        changed(limits={"max_body": 3}),
        changed(model_files=[{"path": "m.onnx"}]),
        changed(model_files=None),
        changed(name=None),
        changed(max_batch_size="32"),
        changed(max_batch_size=True),
        changed(limits={"drain_s": None}),
        changed(license={"content": 5}),
        changed(pipeline={"before": [], "after": [{"use": 5}]}),
        changed(pipeline={"before": [], "after": [{"use": "softmax", "options": []}]}),
        changed(collectors=None),
        changed(collectors=[{"use": 5}]),
        changed(collectors=[{"use": "cgroup", "every": 1}]),
        changed(collectors=[{"use": "cgroup", "options": []}]),
        changed(collectors=[{"use": "cgroup", "interval_s": "1"}]),
        changed(collectors=[{"use": "cgroup", "interval_s": 0}]),
        changed(model_file="/m.onnx"),
        changed(model_file="model_repository/../../m.onnx"),
        changed(model_files=[{"path": "../m.onnx", "sha256": "00", "size_bytes": 3}]),
    ],
    ids=lambda document: str(document)[:40],
)
def test_a_damaged_plan_is_told_in_words(tmp_path: Path, document: Any) -> None:
    """One line that names the file and the command that mends it, whatever the damage is."""
    with pytest.raises(BundleDamaged, match="does not describe a service") as caught:
        ServiceSpec.load(write(tmp_path, document))
    assert PLAN_FILE in caught.value.message
    assert "--force" in caught.value.remedy


def test_a_plan_that_is_not_text_is_damaged(tmp_path: Path) -> None:
    """Bytes that are no UTF-8."""
    (tmp_path / PLAN_FILE).write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(BundleDamaged, match="does not describe a service"):
        ServiceSpec.load(tmp_path)
