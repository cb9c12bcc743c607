"""The number of replicas follows the queue: out under load, in again without it, and no request is lost by either.

The whole path is the real one: the chart's ServiceMonitor, the Prometheus Operator, Prometheus, the chart's rule in the
real prometheus-adapter, the API of custom metrics, and the autoscaler of the cluster.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from tests.cluster.conftest import SMALL, Namespace, new_namespace
from tests.cluster.load import Load, Question
from tests.cluster.waiting import await_that
from tools.cluster import cluster as lifecycle
from tools.cluster import programs

from nimify.testing import models

if TYPE_CHECKING:
    from tests.cluster.conftest import Cluster, MakeRevision, Shell

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]
METRIC: Final = "nv_inference_pending_request_count"
LEAST, MOST, QUEUE = 1, 3, 4
CONFIG: Final = {
    "batching": {"max_batch_size": 1},
    "deployment": {
        "monitoring": True,
        "scaling": {"mode": "hpa", "min_replicas": LEAST, "max_replicas": MOST, "queue_target": QUEUE},
    },
}
QUICK: Final = {
    "monitoring.interval": "5s",
    "monitoring.scrapeTimeout": "5s",
    "autoscaling.behavior.scaleDownWindowSeconds": "15",
    # Three replicas that compute must leave a node of two cores some room.
    "resources.limits.cpu": "400m",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes a tenth of a second, so that a few clients make a queue."""
    return models.save(models.slow(), tmp_path_factory.mktemp("slow") / "slow.onnx")


@pytest.fixture(scope="module")
def bundle(make_revision: MakeRevision, shell: Shell, model: Path) -> str:
    """The service that is scaled."""
    config = shell.folder / "scaled.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    return make_revision("slow", "--config", str(config), model=model, service="slow")


@pytest.fixture(scope="module")
def scaled(shell: Shell, cluster: Cluster, bundle: str) -> Iterator[Namespace]:
    """A namespace in which it is deployed, and prometheus-adapter with the rules of its chart."""
    with new_namespace(cluster) as namespace:
        shell("deploy", bundle, "--target", "kubernetes", "--namespace", namespace.name, *SMALL, *settings(QUICK))
        rules = namespace.get("configmap", "slow-adapter")["data"]["rules.yaml"]
        lifecycle.serve_custom_metrics(cluster.layout, rules)
        yield namespace
        lifecycle.remove_custom_metrics(cluster.layout)


def test_the_replicas_follow_the_queue(shell: Shell, scaled: Namespace, bundle: str, cluster: Cluster) -> None:
    """From one to three and back; while nobody can say how long the queue is, they stay as many as they are."""
    question = Question.golden(shell.folder / bundle, "slow")
    address = scaled.get("service", "slow")["spec"]["clusterIP"]
    await_that(lambda: average(scaled) == 0, lambda: (autoscaler(scaled), targets(cluster)))
    assert len(scaled.pods()) == LEAST
    with Load(address, question, clients=4) as heavy:
        await_that(lambda: len(scaled.ready_pods()) == MOST, lambda: autoscaler(scaled))
        reached = average(scaled)
        lifecycle.crash_custom_metrics(cluster.layout)
        await_that(lambda: condition(scaled, "ScalingActive") == "False", lambda: autoscaler(scaled))
    # Nobody asks any more, and nobody can say so.
    assert len(scaled.ready_pods()) == MOST
    with Load(address, question, clients=1) as light:
        lifecycle.serve_custom_metrics(cluster.layout, scaled.get("configmap", "slow-adapter")["data"]["rules.yaml"])
        await_that(lambda: len(scaled.get("pods")["items"]) == LEAST, lambda: autoscaler(scaled))
    why = {event["message"] for event in scaled.get("events")["items"] if event["reason"] == "SuccessfulRescale"}
    print(f"{reached} waited for each; {dict(heavy.answered)}, {dict(light.answered)}; {why}")  # noqa: T201
    assert any(f"pods metric {METRIC} above target" in message for message in why)
    assert any("below target" in message for message in why)
    assert heavy.failures == []
    assert light.failures == []
    assert min(heavy.answered[kind] for kind in ("kept", "new", "grpc")) > 0
    assert shell("status", "slow", "--json").json()["phase"] == "running"


def test_prometheus_scrapes_every_replica_and_has_the_rules(scaled: Namespace, cluster: Cluster) -> None:
    """By the chart's ServiceMonitor and PrometheusRule alone, under the job that the rules ask for."""
    await_that(
        lambda: {target["labels"]["pod"] for target in targets(cluster)} == scaled.pods(), lambda: targets(cluster)
    )
    assert {target["health"] for target in targets(cluster)} == {"up"}
    (file,) = {group["file"] for group in asked(cluster, "rules")["groups"]}
    assert scaled.name in file
    (rules,) = scaled.get("prometheusrules")["items"]
    names = {group["name"] for group in asked(cluster, "rules")["groups"]}
    assert names == {group["name"] for group in rules["spec"]["groups"]}


def test_the_api_of_metrics_knows_the_pods(scaled: Namespace) -> None:
    """What `autoscaling.cpuUtilization` would be scaled by."""
    await_that(lambda: measured(scaled) == scaled.pods(), lambda: measured(scaled))


def test_keda_would_take_the_scaled_object(
    shell: Shell, empty_namespace: Namespace, bundle: str, cluster: Cluster
) -> None:
    """By KEDA's own definition, which the API server holds it to: nothing is refused, and nothing is dropped."""
    definition = f"--filename={programs.definitions('keda') / 'keda.sh_scaledobjects.yaml'}"
    cluster.kubectl("apply", "--server-side", definition)
    try:
        cluster.kubectl("wait", "--for=condition=Established", definition)
        wanted = {"autoscaling.mode": "keda", "autoscaling.prometheusAddress": "http://prometheus.monitoring:9090"}
        where = ("--target", "kubernetes", "--namespace", empty_namespace.name, *SMALL)
        shell("deploy", bundle, *where, *settings({**QUICK, **wanted}))
        spec = empty_namespace.get("scaledobject", "slow")["spec"]
        manifest = cluster.manifest("slow", empty_namespace.name)
        (rendered,) = (part for part in yaml.safe_load_all(manifest) if part and part["kind"] == "ScaledObject")
        assert spec == rendered["spec"]
        assert spec["triggers"][0]["metadata"]["query"].startswith(f"sum({METRIC}")
        shell("stop", "slow", "--purge")
    finally:
        cluster.kubectl("delete", definition)


def settings(values: dict[str, str]) -> list[str]:
    """Values of the chart as options."""
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def autoscaler(namespace: Namespace) -> Any:
    """The HorizontalPodAutoscaler."""
    return namespace.get("horizontalpodautoscaler", "slow")["status"]


def average(namespace: Namespace) -> float | None:
    """How many requests wait for each replica, as the autoscaler was told."""
    for metric in autoscaler(namespace).get("currentMetrics") or ():
        value = metric.get("pods", {}).get("current", {}).get("averageValue")
        if value is not None:
            return float(value[:-1]) / 1000 if value.endswith("m") else float(value)
    return None


def measured(namespace: Namespace) -> set[str]:
    """The pods of which the API of metrics knows CPU and memory; none while it does not answer."""
    path = f"--raw=/apis/metrics.k8s.io/v1beta1/namespaces/{namespace.name}/pods"
    if namespace.cluster.refusal("get", path):
        return set()
    return {item["metadata"]["name"] for item in json.loads(namespace.cluster.kubectl("get", path))["items"]}


def condition(namespace: Namespace, kind: str) -> str:
    """The status of one of the autoscaler's conditions."""
    found = {item["type"]: item["status"] for item in autoscaler(namespace).get("conditions", [])}
    return str(found.get(kind, "Unknown"))


def targets(cluster: Cluster) -> list[Any]:
    """What Prometheus scrapes under the job of the service."""
    return [one for one in asked(cluster, "targets")["activeTargets"] if one["labels"]["job"] == "slow"]


def asked(cluster: Cluster, what: str) -> Any:
    """What Prometheus says."""
    with urllib.request.urlopen(f"{cluster.layout.prometheus}/api/v1/{what}", timeout=30) as answer:
        return json.load(answer)["data"]
