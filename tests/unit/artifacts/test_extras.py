"""Files for further targets: as their readers' schemas ask for them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from nimify.artifacts.artifact import Artifact
from nimify.artifacts.compose import compose
from nimify.artifacts.kserve import inference_service
from nimify.artifacts.nim_operator import nim_service
from nimify.artifacts.triton import ENGINE_CACHE
from nimify.config import EXTRAS

Prepare = Callable[..., Any]
TABLE = json.loads((Path(__file__).parent / "data" / "nimservice_fields.json").read_text())
KUBERNETES = "1.34"
PLANS: dict[str, dict[str, Any]] = {
    "usual": {},
    "scaled": {"deployment": {"scaling": {"mode": "hpa", "min_replicas": 2, "max_replicas": 9}}},
    "triton": {"deployment": {"family": "triton"}},
    "limited": {"resources": {"cpu": 0.5, "cpu_limit": 1.5}},
}
each_plan = pytest.mark.parametrize("kind", PLANS)
_TYPES = {"string": str, "integer": int, "boolean": bool, "object": dict}


def paths(data: Mapping[str, Any], prefix: str = "spec") -> Iterator[tuple[str, Any]]:
    """Every field with its path, down to where the table only names a type of Kubernetes."""
    for key, value in data.items():
        path = f"{prefix}.{key}"
        yield path, value
        known = TABLE["fields"].get(path, {})
        if isinstance(value, dict) and known.get("type") == "object":
            yield from paths(value, path)


def validated(kind: str, spec: dict[str, Any]) -> None:
    """Check a resource against the strict schema of a Kubernetes release."""
    versions = {"Pod": "v1", "HorizontalPodAutoscaler": "autoscaling/v2"}
    document = {"apiVersion": versions[kind], "kind": kind, "metadata": {"name": "x"}, "spec": spec}
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_nothing_is_written_that_nobody_asked_for(prepare: Prepare) -> None:
    """The default bundle has none of them; each name brings its own."""
    files = {item.path for item in prepare("tiny").items()}
    assert not files & {"compose.yaml", "nimservice.yaml", "inferenceservice.yaml"}
    for name, file in zip(EXTRAS, ("compose.yaml", "nimservice.yaml", "inferenceservice.yaml"), strict=True):
        items = {item.path: item for item in prepare("tiny", **{"with": [name]}).items()}
        assert items.keys() - files >= {file}
        assert isinstance(items[file], Artifact)


@each_plan
def test_every_field_of_the_nim_service_exists(kind: str, prepare: Prepare) -> None:
    """By the operator's own schema: known fields with their types, bounds and patterns, and all that are required."""
    resource = nim_service(prepare("tiny", **PLANS[kind]).plan)
    assert resource["apiVersion"] == f"{TABLE['group']}/{TABLE['version']}"
    present = dict(paths(resource["spec"]))
    for path, value in present.items():
        field = TABLE["fields"][path]
        if field["type"] in _TYPES:
            assert type(value) is _TYPES[field["type"]], path
        assert value in field.get("enum", [value]), path
        assert re.search(field.get("pattern", ""), str(value)), path
        if isinstance(value, int):
            assert field.get("minimum", value) <= value <= field.get("maximum", value), path
        for required in field.get("required", ()):
            assert f"{path}.{required}" in present


@each_plan
def test_the_nim_service_passes_the_operators_admission(kind: str, prepare: Prepare) -> None:
    """Its webhook's rules: one storage, replicas or scaling but not both, metrics with a monitor, no claims."""
    spec = nim_service(prepare("tiny", **PLANS[kind]).plan)["spec"]
    assert len(spec["storage"].keys() & {"nimCache", "pvc", "emptyDir", "hostPath"}) == 1
    assert ("replicas" in spec) is not spec.get("scale", {}).get("enabled", False)
    assert ("scale" in spec) is (kind == "scaled")
    assert spec["metrics"]["serviceMonitor"]
    assert "claims" not in spec["resources"]
    assert (spec["resources"]["limits"].get("nvidia.com/gpu") == 1) is (kind == "triton")


@each_plan
def test_what_the_nim_service_embeds_is_valid_kubernetes(kind: str, prepare: Prepare) -> None:
    """Resources and probes as a container has them, and scaling as an autoscaler has it."""
    spec = nim_service(prepare("tiny", **PLANS[kind]).plan)["spec"]
    probes = {name: spec[name]["probe"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    validated("Pod", {"containers": [{"name": "x", "image": "x", "resources": spec["resources"], **probes}]})
    if "scale" in spec:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}
        validated("HorizontalPodAutoscaler", {"scaleTargetRef": target, **spec["scale"]["hpa"]})


@each_plan
def test_the_predictor_is_a_valid_restricted_pod(kind: str, prepare: Prepare) -> None:
    """KServe takes a pod as a custom predictor, with a few fields of its own."""
    predictor = inference_service(prepare("tiny", **PLANS[kind]).plan)["spec"]["predictor"]
    least, most = predictor.pop("minReplicas"), predictor.pop("maxReplicas")
    assert 1 <= least <= most
    assert predictor.pop("timeout") == 60
    validated("Pod", predictor)
    (container,) = predictor["containers"]
    assert container["name"] == "kserve-container"
    assert {"name": "PROTOCOL", "value": "v2"} in container["env"]
    security = container["securityContext"]
    assert security["runAsNonRoot"]
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in predictor["volumes"]}
    assert ENGINE_CACHE.startswith(f"{mounts['cache']}/")  # nothing else can be written to


@each_plan
def test_every_container_of_compose_is_locked_down(kind: str, prepare: Prepare) -> None:
    """Read-only, without capabilities or new privileges, and on loopback alone."""
    services = compose(prepare("tiny", **PLANS[kind]).plan)["services"]
    for service in services.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert services["service"]["mem_limit"] > 0
    assert services["service"]["healthcheck"]["test"][0] == "CMD"
    assert [name for name, service in services.items() if service.get("profiles") == ["monitoring"]] == [
        "prometheus",
        "grafana",
    ]
    assert ("deploy" in services["service"]) is (kind == "triton")


def test_what_compose_mounts_is_in_the_bundle(prepare: Prepare) -> None:
    """Every file that Prometheus and Grafana read from the host was written beside it."""
    items = {item.path: item for item in prepare("tiny", **{"with": ["compose"]}).items()}
    mounts = [
        mount
        for service in yaml.safe_load(items["compose.yaml"].content)["services"].values()
        for mount in service.get("volumes", ())
    ]
    sources = [mount.split(":")[0].removeprefix("./") for mount in mounts]
    assert len(sources) == 5
    assert set(sources) <= items.keys()
    assert all(mount.endswith(":ro") for mount in mounts)


def test_the_profile_scrapes_the_service_under_its_own_name(prepare: Prepare) -> None:
    """The rules ask for the job that the configuration defines."""
    items = {item.path: item for item in prepare("tiny", name="mine", **{"with": ["compose"]}).items()}
    (job,) = yaml.safe_load(items["monitoring/compose/prometheus.yaml"].content)["scrape_configs"]
    assert job["job_name"] == "mine"
    assert job["static_configs"] == [{"targets": ["service:8000"]}]
