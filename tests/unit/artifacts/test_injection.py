"""Names from a model file are data: whatever they hold, every artifact gives them back unchanged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate

from nimify.artifacts.artifact import Artifact
from nimify.artifacts.render import render
from nimify.artifacts.triton import parse_config
from nimify.config import ModelConfig
from nimify.planning.planner import plan
from nimify.tensors import DATATYPES, Signature, TensorSpec

HOSTILE = [
    'x" }\nmax_batch_size: 9999 #',
    "'; rm -rf / #",
    "{{ .Values.x }}",
    "${HOME} $(id) `id`",
    "a\x00b",
    "line\r\n---\nname: evil",
    "\u202emodel",
    "ключ 🔑",
    "back\\slash\\n",
    "<script>alert(1)</script>",
    "#/components/schemas/Error",
    "../../etc/passwd",
    "__proto__",
    "\x1b[31mred",
]
Prepare = Callable[..., Any]


def hostile_items(prepare: Prepare, name: str) -> dict[str, bytes]:
    prepared = prepare("tiny")
    signature = Signature(
        inputs=(TensorSpec(name, DATATYPES["FP32"], (name, 4)),),
        outputs=(TensorSpec(name, DATATYPES["FP32"], (name, 4)),),
    )
    (case, *_) = prepared.analysis.golden
    case = replace(case, inputs={name: case.inputs["x"]}, outputs={name: case.outputs["y"]})
    model = replace(prepared.analysis.model, signature=signature, producer=name, metadata={name: name})
    analysis = replace(prepared.analysis, model=model, golden=(case,))
    config = ModelConfig(description=name)
    items = render(plan(analysis, config), config, analysis)
    return {item.path: item.content for item in items if isinstance(item, Artifact)}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_come_back_unchanged_from_every_artifact(name: str, prepare: Prepare) -> None:
    """Each file is parsed by its own reader, and holds the name as it was, where it belongs."""
    files = hostile_items(prepare, name)

    config = parse_config(files["model_repository/model/config.pbtxt"])
    assert (config.input[0].name, config.output[0].name) == (name, name)
    assert config.max_batch_size == 32
    assert list(config.model_warmup[0].inputs) == [name]

    document = json.loads(files["openapi.json"])
    validate(document)
    assert list(document["components"]["schemas"]["InferRequest"]["properties"]["inputs"]["properties"]) == [name]

    planned = json.loads(files["plan.json"])
    assert planned["service"]["signature"]["inputs"][0] == {"name": name, "datatype": "FP32", "shape": [name, 4]}
    assert planned["model"]["metadata"] == {name: name}

    assert ModelConfig.build(yaml.safe_load(files["nimify.yaml"])).description == name
    assert json.loads(files["golden/batch-1.request.json"])["inputs"][0]["name"] == name
    assert list(json.loads(files["golden/golden.json"])["tolerances"]) == [name]


def test_a_file_name_cannot_break_out_of_a_comment(prepare: Prepare) -> None:
    """The header of nimify.yaml names the model file, and stays a comment."""
    prepared = prepare("tiny")
    path = prepared.analysis.model.path.with_name("a\nname: evil\n#.onnx")
    analysis = replace(prepared.analysis, model=replace(prepared.analysis.model, path=path))
    config = ModelConfig(name="good")
    items = {item.path: item for item in render(plan(analysis, config), config, analysis)}
    text = items["nimify.yaml"]
    assert isinstance(text, Artifact)
    assert yaml.safe_load(text.content) == {"name": "good"}


def test_a_file_name_that_is_no_text_still_gives_valid_files(prepare: Prepare) -> None:
    """Bytes of a name that are no UTF-8 are escaped, not fatal."""
    prepared = prepare("tiny")
    path = prepared.analysis.model.path.with_name("caf\udce9.onnx")
    analysis = replace(prepared.analysis, model=replace(prepared.analysis.model, path=path))
    items = {item.path: item for item in render(plan(analysis, ModelConfig()), ModelConfig(), analysis)}
    planned, settings = items["plan.json"], items["nimify.yaml"]
    assert isinstance(planned, Artifact)
    assert isinstance(settings, Artifact)
    assert json.loads(planned.content)["model"]["file"] == "caf\udce9.onnx"
    assert b"caf" in settings.content
