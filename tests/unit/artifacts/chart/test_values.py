"""values.yaml and Chart.yaml: data of the plan, the same for every reader, and what the schema takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml

from nimify.analysis.measure import Measurement, SweepPoint
from nimify.artifacts.chart.chart import chart_artifacts, chart_text, chart_version
from nimify.artifacts.chart.values import decided_sections, values_text
from nimify.artifacts.yaml_file import yaml_text
from nimify.config import ModelConfig
from nimify.planning.planner import plan

Prepare = Callable[..., Any]

CHART = files("nimify.artifacts.chart")
DEPLOYMENTS: list[dict[str, Any]] = [
    {},
    {"replicas": 1},
    {"family": "triton", "node_selector": {"nvidia.com/gpu.product": "NVIDIA-L4"}},
    {"scaling": {"mode": "hpa", "min_replicas": 2, "max_replicas": 9, "queue_target": 7}},
    {"scaling": {"mode": "keda", "prometheus": "http://prometheus.monitoring:9090"}},
    {"expose": {"kind": "ingress", "host": "digits.example.com"}},
    {"expose": {"kind": "gateway", "host": "digits.example.com", "gateway": "gateways/public"}},
    {"monitoring": True, "startup_s": 900, "pre_stop_s": 30},
]


def values_of(prepare: Prepare, kind: str = "digits", **config: Any) -> dict[str, Any]:
    prepared = prepare(kind, **config)
    data = yaml.safe_load(values_text(prepared.plan, prepared.config.deployment))
    assert isinstance(data, dict)
    return data


def schema() -> dict[str, Any]:
    data = json.loads((CHART / "static" / "values.schema.json").read_text(encoding="utf-8"))
    assert isinstance(data, dict)
    return data


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_the_schema_takes_what_is_generated(deployment: dict[str, Any], prepare: Prepare) -> None:
    """Whatever nimify.yaml asks for, the values are valid as they stand."""
    values = values_of(prepare, deployment=deployment, resources={"cpu": 0.5, "cpu_limit": 1.5})

    jsonschema.Draft7Validator.check_schema(schema())
    jsonschema.Draft7Validator(schema()).validate(values)


def test_both_halves_together_are_what_the_schema_asks_for(prepare: Prepare) -> None:
    """No key stands in both halves, and none of those that the schema needs is missing."""
    prepared = prepare("digits")
    decided = [section.key for section in decided_sections(prepared.plan, prepared.config.deployment)]
    cluster = yaml.safe_load((CHART / "cluster_values.yaml").read_text(encoding="utf-8"))

    assert not set(decided) & set(cluster)
    assert sorted((*decided, *cluster)) == sorted(schema()["required"])


def test_every_object_of_the_schema_refuses_unknown_keys() -> None:
    """Typos are errors on every level; only maps of the user's own keys are open, and those have a grammar."""

    def closed(node: Any) -> bool:
        if isinstance(node, list):
            return all(map(closed, node))
        if not isinstance(node, dict):
            return True
        if node.get("type") == "object" and node.get("description", "").startswith("Helm's own"):
            return True
        if node.get("type") == "object" and "additionalProperties" not in node:
            return False
        return all(closed(value) for value in node.values())

    assert closed(schema())


def test_the_values_carry_out_the_plan(prepare: Prepare) -> None:
    """Each figure comes from the decision of that name."""
    made = prepare("digits", deployment={"replicas": 3}).plan
    values = values_of(prepare, deployment={"replicas": 3})
    startup = values["probes"]["startup"]

    assert values["replicaCount"] == 3
    assert values["model"]["digest"] == made.service.model_digest
    assert sum(values["shutdown"].values()) == made.value("deployment.termination_grace_s")
    assert startup["periodSeconds"] * startup["failureThreshold"] >= made.value("deployment.startup_s")
    assert values["autoscaling"]["queueTarget"] == made.value("deployment.scaling.queue_target")
    assert values["gateway"]["timeoutSeconds"] == made.value("deployment.route_timeout_s")
    assert values["resources"]["requests"]["memory"] == "128Mi"


def test_the_family_decides_about_the_gpu(prepare: Prepare) -> None:
    """Triton asks for one, with memory for itself; the embedded engine asks for none."""
    cpu, triton = (values_of(prepare, deployment={"family": family}) for family in ("cpu", "triton"))

    assert (cpu["gpu"]["mode"], triton["gpu"]["mode"]) == ("none", "devicePlugin")
    assert triton["resources"]["requests"]["memory"] != cpu["resources"]["requests"]["memory"]
    assert triton["shutdown"]["preStopSeconds"] > cpu["shutdown"]["preStopSeconds"]


def test_what_was_measured_is_called_measured(prepare: Prepare) -> None:
    """The comment above the probes says what their budget rests on."""
    prepared = prepare("digits")
    point = SweepPoint(1, 10, 0.01, 0.02, 400.0, 1 << 27)
    measured = replace(prepared.analysis, measured=Measurement(30.0, 1 << 26, 1 << 27, 2, {}, (point,)))
    text = values_text(plan(measured, ModelConfig()), ModelConfig().deployment)

    assert "ready (measured)" in text
    assert "ready (estimated)" in values_text(prepared.plan, prepared.config.deployment)
    assert yaml.safe_load(text)["autoscaling"]["queueTarget"] == 40


@pytest.mark.parametrize("word", ["1e3", "1.2e3", "0o17", "0x1F", "1_000", "012", "1.0", "no", "y", "null", "1:30"])
def test_text_that_looks_like_something_else_stays_text(word: str, prepare: Prepare) -> None:
    """Readers of YAML disagree about such words, so they are in quotes."""
    assert f'"{word}"' in yaml_text({"version": word})
    assert yaml.safe_load(yaml_text({word: word})) == {word: word}


@pytest.mark.parametrize("text", ["a\nb", "\u202emodel", "nul\x00", "x\u2028y\x85z", "{{ x }}", "🔑", "#", " ", ""])
def test_a_description_comes_back_unchanged(text: str, prepare: Prepare) -> None:
    """Chart.yaml is ASCII, and holds the description as it is; an empty one is replaced by a sentence."""
    written = chart_text(prepare("digits", description=text).plan)

    assert written.isascii()
    assert yaml.safe_load(written)["description"] == (text or "The inference service model.")


@pytest.mark.parametrize(
    ("version", "written"),
    [
        ("1.2.3", "1.2.3"),
        ("1.2.3-rc.1+build.5", "1.2.3-rc.1+build.5"),
        ("7", "0.0.0+7"),
        ("2026-11", "0.0.0+2026-11"),
        ("1.02.3", "0.0.0+1.02.3"),
        ("1..2+.3", "0.0.0+1.2.3"),
    ],
)
def test_every_release_is_a_semantic_version_to_helm(version: str, written: str) -> None:
    """What is none becomes build metadata."""
    assert chart_version(version) == written


def test_the_templates_are_the_same_for_every_model(prepare: Prepare) -> None:
    """Only Chart.yaml and values.yaml differ, and the same plan gives the same bytes."""

    def chart(kind: str) -> dict[str, bytes]:
        prepared = prepare(kind)
        return {item.path: item.content for item in chart_artifacts(prepared.plan, prepared.config.deployment)}

    digits, strings = chart("digits"), chart("strings")

    assert digits == chart("digits")
    assert digits.keys() == strings.keys()
    assert {path for path in digits if digits[path] != strings[path]} <= {"chart/Chart.yaml", "chart/values.yaml"}
    assert "chart/templates/tests/ready.yaml" in digits
