"""Every feature renders to what Kubernetes takes, from the oldest release to the newest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import kubernetes_validate
import pytest
import yaml

if TYPE_CHECKING:
    from tests.chart.conftest import Combination, Helm

pytestmark = pytest.mark.chart

KUBERNETES = tuple(f"1.{minor}" for minor in range(29, 38))


@cache
def custom_schemas() -> dict[str, Any]:
    """Schemas of custom resources by API version and kind."""
    data = yaml.safe_load((Path(__file__).parent / "custom_resources.yaml").read_text())
    return {name: {"definitions": data["definitions"], **schema} for name, schema in data["kinds"].items()}


@pytest.fixture(scope="module", autouse=True)
def schemas_read_once() -> Iterator[None]:
    """The library reads a release's schemas from the disk for every document, which takes most of the time."""
    library = kubernetes_validate.utils
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "schema_contents", cache(library.schema_contents))
        yield


@cache
def check(text: str, kubernetes: str) -> None:
    """Check one document strictly; the same text is checked once for each release."""
    document = json.loads(text)
    schema = custom_schemas().get(f"{document['apiVersion']}/{document['kind']}")
    if schema is None:
        kubernetes_validate.validate(document, kubernetes, strict=True)
    else:
        jsonschema.validate(document["spec"], schema)


def test_the_chart_lints_as_it_stands(helm: Helm) -> None:
    """Helm's strict lint finds nothing, before anybody has named an image."""
    done = helm.run("lint", "--strict", str(helm.chart))

    assert done.returncode == 0, done.stdout
    assert "[ERROR]" not in done.stdout
    assert "[WARNING]" not in done.stdout


def test_every_combination_lints(combination: Combination, helm: Helm) -> None:
    """Helm's strict lint takes each combination of features."""
    file = helm.values_file(combination.values)
    done = helm.run("lint", "--strict", "--kube-version", "1.36.0", "-f", str(file), str(helm.chart))

    assert done.returncode == 0, done.stdout


def test_every_combination_is_valid_on_every_release(combination: Combination, helm: Helm) -> None:
    """Strict schemas take every document; a release that lacks a feature is refused in a sentence."""
    for kubernetes in KUBERNETES:
        if kubernetes < combination.needs:
            refused = helm.template(combination.values, kubernetes=kubernetes)
            assert refused.returncode != 0
            assert "needs Kubernetes 1." in refused.stderr
            continue
        documents = helm.render(combination.values, kubernetes=kubernetes)
        for document in documents:
            check(json.dumps(document, sort_keys=True), kubernetes)
        keys = [(document["kind"], document["metadata"]["name"]) for document in documents]
        assert len(keys) == len(set(keys))


def test_without_an_image_nothing_is_installed(helm: Helm) -> None:
    """The refusal names the value and an example."""
    done = helm.run("template", "digits", str(helm.chart))

    assert done.returncode != 0
    assert "image.repository is empty: name the image that `nimify build` made" in done.stderr


def test_an_older_cluster_is_refused(helm: Helm) -> None:
    """Chart.yaml says which releases it is made for."""
    done = helm.template({}, kubernetes="1.28")

    assert done.returncode != 0
    assert "requires kubeVersion: >=1.29.0-0" in done.stderr


@pytest.mark.parametrize(
    ("release", "name"), [("digits", "digits"), ("prod", "prod-digits"), ("7-digits", "n-7-digits"), ("r" * 53, None)]
)
def test_names_stay_within_what_kubernetes_takes(release: str, name: str | None, helm: Helm) -> None:
    """A Service's name starts with a letter, and every name has at most 63 characters."""
    everything = {
        "apiKeys": {"enabled": True, "externalSecret": {"enabled": True, "storeName": "s", "remoteKey": "k"}},
        "autoscaling": {"mode": "hpa"},
    }
    documents = helm.render(everything, release=release)
    names = [document["metadata"]["name"] for document in documents]

    assert max(map(len, names)) <= 63
    assert all(found[0].isalpha() and not found.endswith("-") for found in names)
    if name is not None:
        assert name in names


def test_the_sleep_before_the_end_works_on_every_release(helm: Helm) -> None:
    """The sleep action is there from 1.30 on; before it, the image's own program sleeps."""
    for kubernetes, action in (("1.29", {"exec": {"command": ["sleep", "5"]}}), ("1.30", {"sleep": {"seconds": 5}})):
        (deployment,) = (d for d in helm.render({}, kubernetes=kubernetes) if d["kind"] == "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["lifecycle"]["preStop"] == action


def test_rules_and_the_dashboard_pass_through_untouched(helm: Helm, tmp_path: Path) -> None:
    """What lies in files/ reaches the cluster as it is, its own curly brackets included."""
    chart = helm.copy(tmp_path)
    rules = {
        "groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up == 0", "annotations": {"s": "{{ $value }}"}}]}]
    }
    board = '{"title": "{{ not ours }}", "panels": []}\n'
    (chart.chart / "files").mkdir(exist_ok=True)
    (chart.chart / "files" / "rules.yaml").write_text(yaml.safe_dump(rules))
    (chart.chart / "files" / "dashboard.json").write_text(board)

    documents = chart.render({"monitoring": {"rules": True, "dashboard": True}})

    assert [d["spec"] for d in documents if d["kind"] == "PrometheusRule"] == [rules]
    (shown,) = (d["data"] for d in documents if d["kind"] == "ConfigMap")
    assert list(shown.values()) == [board]


@pytest.mark.parametrize(
    "deployment",
    [
        {"family": "triton", "monitoring": True, "node_selector": {"nvidia.com/gpu.product": "NVIDIA-L4"}},
        {"scaling": {"mode": "keda", "prometheus": "http://prometheus.monitoring:9090"}, "replicas": 3},
        {"expose": {"kind": "gateway", "host": "digits.example.com", "gateway": "gateways/public"}},
    ],
)
def test_what_nimify_yaml_asks_for_renders(
    deployment: dict[str, Any], helm: Helm, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    """The wishes of a nimify.yaml reach valid documents through the generated values alone."""
    chart = replace(helm, chart=make_bundle("digits", deployment=deployment) / "chart", scratch=tmp_path, rendered={})

    documents = chart.render({}, kubernetes="1.37")

    assert chart.run("lint", "--strict", str(chart.chart)).returncode == 0
    for document in documents:
        check(json.dumps(document, sort_keys=True), "1.37")
    kinds = {document["kind"] for document in documents}
    assert ("ServiceMonitor" in kinds) == ("PrometheusRule" in kinds) == deployment.get("monitoring", False)
    assert ("ScaledObject" in kinds) == ("scaling" in deployment)
    assert ("HTTPRoute" in kinds) == ("GRPCRoute" in kinds) == ("expose" in deployment)
