"""What users and models can name, on its way into YAML, PromQL and Grafana: refused, or given back unchanged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from nimify.artifacts.artifact import Artifact
from nimify.artifacts.render import render
from nimify.artifacts.yaml_file import yaml_artifact
from nimify.config import EXTRAS, ModelConfig
from nimify.errors import ConfigError
from nimify.planning.plan import ServicePlan
from nimify.planning.planner import plan
from nimify.tensors import DATATYPES, Signature, TensorSpec

Prepare = Callable[..., Any]
TEXTS = [
    'x" }\njob="evil',
    "FROM a\nRUN touch /tmp/x",
    "$(id) `id` ${HOME}",
    "{{ .Values.x }} {{ $value }}",
    "*anchor",
    "&anchor",
    "!!python/object:os.system",
    "key: value",
    "- item",
    "# comment",
    " leading",
    "trailing ",
    "a\x00b",
    "\u202e\u2028\u0085",
    "yes",
    "NO",
    "null",
    "~",
    "1e3",
    "0o17",
    "0x1f",
    "1_000",
    "12:30:45",
    "2026-11-24",
    ".inf",
    "",
    "say \"hello\" to 'them'",
]
NAMES = ["on", "null", "y", "1e3", "0o17", "0x1f", "123", "a" * 53, "true", "prometheus", "service"]
"""Valid names that a careless writer of YAML makes something else of."""


def generated(prepare: Prepare, config: ModelConfig, name: str = "x") -> dict[str, bytes]:
    """Every file of a bundle whose tensors are called `name`."""
    prepared = prepare("tiny")
    signature = Signature(
        inputs=(TensorSpec(name, DATATYPES["FP32"], (name, 4)),),
        outputs=(TensorSpec(name, DATATYPES["FP32"], (name, 4)),),
    )
    (case, *_) = prepared.analysis.golden
    case = replace(case, inputs={name: case.inputs["x"]}, outputs={name: case.outputs["y"]})
    model = replace(prepared.analysis.model, signature=signature, producer=name, metadata={name: name})
    analysis = replace(prepared.analysis, model=model, golden=(case,))
    made: ServicePlan = plan(analysis, config)
    return {item.path: item.content for item in render(made, config, analysis) if isinstance(item, Artifact)}


def ours(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files that watch the service, and those of further targets."""
    tops = ("monitoring/", "chart/files/", "compose.yaml", "nimservice.yaml", "inferenceservice.yaml")
    return {path: content for path, content in files.items() if path.startswith(tops)}


@pytest.mark.parametrize("text", TEXTS)
def test_text_in_yaml_comes_back_as_it_was(text: str) -> None:
    """As a key, as a value, and in a list."""
    data = {"value": text, "list": [text], "after": "last"} | {text: "key"}
    content = yaml_artifact("x.yaml", data).content
    assert yaml.safe_load(content) == data
    assert content.isascii()


@pytest.mark.parametrize("text", TEXTS)
def test_nothing_of_a_model_gets_into_these_files(text: str, prepare: Prepare) -> None:
    """Tensor names, metadata and descriptions leave no trace, so there is nothing to break out of."""
    extras = {"with": list(EXTRAS)}
    harmless = ours(generated(prepare, ModelConfig.build(extras)))
    described = ModelConfig.build({**extras, "description": text, "license": {"name": text, "url": text}})
    hostile = ours(generated(prepare, described, text or "x"))
    assert len(harmless) > len(EXTRAS)
    assert hostile == harmless


@pytest.mark.parametrize("name", NAMES)
def test_names_stay_text(name: str, prepare: Prepare) -> None:
    """A service called `on` is called so in every file."""
    files = generated(prepare, ModelConfig.build({"name": name, "with": list(EXTRAS)}))
    groups = yaml.safe_load(files["monitoring/rules.yaml"])["groups"]
    labels = {rule["labels"]["service"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert labels == {name}
    assert [group["name"] for group in groups] == [
        f"{name}-{part}" for part in ("recording", "objectives", "saturation", "health")
    ]
    assert yaml.safe_load(files["monitoring/prometheus.yaml"])["scrape_configs"][0]["job_name"] == name
    assert json.loads(files["monitoring/dashboard.json"])["title"] == name
    assert yaml.safe_load(files["compose.yaml"])["name"] == name
    assert set(yaml.safe_load(files["compose.yaml"])["services"]) == {"service", "prometheus", "grafana"}
    for path in ("nimservice.yaml", "inferenceservice.yaml"):
        resource = yaml.safe_load(files[path])["metadata"]["name"]
        assert resource == (name if name[0].isalpha() else f"n-{name}")


@pytest.mark.parametrize("version", ["1.0.0+build.7", "0o17", "1e3", "2026", "v-1"])
def test_every_release_is_a_valid_tag(version: str, prepare: Prepare) -> None:
    """Semantic versions may hold a `+`, image tags may not."""
    files = generated(prepare, ModelConfig.build({"version": version, "with": list(EXTRAS)}))
    tag = version.replace("+", "-")
    assert yaml.safe_load(files["nimservice.yaml"])["spec"]["image"] == {
        "repository": "model",
        "tag": tag,
        "pullPolicy": "IfNotPresent",
    }
    (container,) = yaml.safe_load(files["inferenceservice.yaml"])["spec"]["predictor"]["containers"]
    assert container["image"] == f"model:{tag}"
    assert yaml.safe_load(files["compose.yaml"])["services"]["service"]["image"] == f"${{IMAGE:-model:{tag}}}"


@pytest.mark.parametrize(
    "url",
    [
        "https://x/{{ $value }}",
        "https://x/\nevil: true",
        'https://x/"',
        "javascript:alert(1)",
        "https://x/ y",
        "https://x/$(id)",
        "https://x/\u202e",
        "monitoring/runbooks",
        "",
    ],
)
def test_a_link_that_is_none_is_refused(url: str) -> None:
    """Annotations are templates to Prometheus, and links to people."""
    with pytest.raises(ConfigError, match="runbooks_url"):
        ModelConfig.build({"objectives": {"runbooks_url": url}})
