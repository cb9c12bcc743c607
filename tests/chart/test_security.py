"""What the chart renders passes admission: Pod Security `restricted`, kube-score, and nothing that points nowhere."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from nimify.conformance.offline_checks.kube_score import ACCEPTED

if TYPE_CHECKING:
    from tests.chart.conftest import Combination, Helm

pytestmark = pytest.mark.chart

Document = dict[str, Any]
RESTRICTED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret", "image",
}  # fmt: skip
"""`image` counts among them since Kubernetes 1.33."""

ACCEPTED_ALWAYS = {"container-resources", "container-image-pull-policy"}
"""Checks of kube-score that the default chart fails; the others that are accepted, only values ask for."""

_SCORED: dict[str, set[str]] = {}
"""What kube-score said, by combination."""


def pods(documents: list[Document]) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """Labels and spec of every pod that comes of the documents."""
    for document in documents:
        if document["kind"] == "Deployment":
            template = document["spec"]["template"]
            yield template["metadata"]["labels"], template["spec"]
        elif document["kind"] == "Pod":
            yield document["metadata"]["labels"], document["spec"]


def restricted_violations(spec: Mapping[str, Any]) -> list[str]:
    """How a pod breaks the Pod Security Standard `restricted`; the fields of its specification, one by one."""
    found = [f"host: {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    context = spec.get("securityContext", {})
    if context.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        found.append("seccompProfile")
    if context.get("sysctls"):
        found.append("sysctls")
    found += [
        f"volume {volume['name']}" for volume in spec.get("volumes", ()) if not RESTRICTED_VOLUMES & volume.keys()
    ]
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        own = container.get("securityContext", {})
        effective = {**context, **own}
        if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
            found.append("privilege escalation")
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add", []):
            found.append("capabilities")
        if effective.get("runAsNonRoot") is not True or effective.get("runAsUser") == 0:
            found.append("runs as root")
        if own.get("procMount", "Default") != "Default" or any("hostPort" in p for p in container.get("ports", ())):
            found.append("procMount or hostPort")
    return found


def test_every_pod_is_restricted(combination: Combination, helm: Helm) -> None:
    """Pod Security `restricted` admits the service and the helm test, whatever is chosen; roots are read-only."""
    specs = [spec for _, spec in pods(helm.render(combination.values, kubernetes="1.37"))]

    assert len(specs) == 2
    for spec in specs:
        assert restricted_violations(spec) == []
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert all(c["securityContext"]["readOnlyRootFilesystem"] is True for c in spec["containers"])
        assert all({"cpu", "memory"} <= c["resources"]["requests"].keys() for c in spec["containers"])
        assert all("memory" in c["resources"]["limits"] for c in spec["containers"])


def test_the_check_of_restricted_sees_violations() -> None:
    """The check above can fail: a pod without a security context breaks every rule."""
    pod = {"hostNetwork": True, "containers": [{}], "volumes": [{"name": "h", "hostPath": {}}]}

    assert restricted_violations(pod) == [
        "host: hostNetwork", "seccompProfile", "volume h", "privilege escalation", "capabilities", "runs as root",
    ]  # fmt: skip


def open_to_monitoring(policies: list[Document], ports: set[str]) -> set[str]:
    """Ports that Prometheus reaches: those of the last rule of the service's policy; all where nothing is said."""
    if not policies or len(policies[0]["spec"]["ingress"]) < 2:
        return ports
    return {port["port"] for port in policies[0]["spec"]["ingress"][-1]["ports"]}


def test_nothing_points_nowhere(combination: Combination, helm: Helm) -> None:
    """Every selector, reference and port leads to something that the chart renders too."""
    documents = helm.render(combination.values, kubernetes="1.37")
    by_kind: dict[str, list[Document]] = {}
    for document in documents:
        by_kind.setdefault(document["kind"], []).append(document)
    labels = [label for label, _ in pods(documents)]
    (deployment,) = by_kind["Deployment"]
    (service,) = by_kind["Service"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}

    def chosen(selector: Mapping[str, str]) -> list[dict[str, str]]:
        return [found for found in labels if selector.items() <= found.items()]

    assert chosen(service["spec"]["selector"]) == [deployment["spec"]["template"]["metadata"]["labels"]]
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        for document in by_kind.get(kind, ()):
            selector = document["spec"].get("selector", document["spec"].get("podSelector"))
            assert len(chosen(selector["matchLabels"])) == 1
    for document in by_kind.get("HorizontalPodAutoscaler", []) + by_kind.get("ScaledObject", []):
        assert document["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
        assert "replicas" not in deployment["spec"]
    assert not ("HorizontalPodAutoscaler" in by_kind and "ScaledObject" in by_kind)
    for document in by_kind.get("HTTPRoute", []) + by_kind.get("GRPCRoute", []):
        for backend in document["spec"]["rules"][0]["backendRefs"]:
            assert backend["name"] == service["metadata"]["name"]
            assert backend["port"] in {port["port"] for port in service["spec"]["ports"]}
    for document in by_kind.get("ServiceMonitor", []) + by_kind.get("PodMonitor", []):
        endpoints = document["spec"].get("endpoints", document["spec"].get("podMetricsEndpoints"))
        assert {endpoint["port"] for endpoint in endpoints} <= ports
        assert {endpoint["port"] for endpoint in endpoints} <= open_to_monitoring(
            by_kind.get("NetworkPolicy", []), ports
        )
    volumes = {volume["name"] for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_a_gpu_is_asked_for_in_one_way(combination: Combination, helm: Helm) -> None:
    """By the device plugin or by a claim, and not at all for the embedded engine."""
    documents = helm.render(combination.values, kubernetes="1.37")
    (spec,) = (d["spec"]["template"]["spec"] for d in documents if d["kind"] == "Deployment")
    resources = spec["containers"][0]["resources"]
    mode = combination.values.get("gpu", {}).get("mode", "none")

    assert ("nvidia.com/gpu" in resources["limits"]) == (mode == "devicePlugin")
    assert ("claims" in resources) == ("resourceClaims" in spec) == (mode == "dra")
    assert any(t.get("key") == "nvidia.com/gpu" for t in spec.get("tolerations", ())) == (mode != "none")


def test_a_pod_has_the_time_that_its_parts_take(combination: Combination, helm: Helm) -> None:
    """The grace is preStop, drain, requests and a margin; the deadline of a rollout is more than the startup budget."""
    (deployment,) = (d for d in helm.render(combination.values, kubernetes="1.37") if d["kind"] == "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    shutdown = yaml.safe_load((helm.chart / "values.yaml").read_text())["shutdown"]
    startup = container["startupProbe"]

    assert spec["terminationGracePeriodSeconds"] == sum(shutdown.values())
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == shutdown["preStopSeconds"]
    assert deployment["spec"]["progressDeadlineSeconds"] > startup["periodSeconds"] * startup["failureThreshold"]
    assert container["readinessProbe"]["httpGet"]["path"] != container["livenessProbe"]["httpGet"]["path"]


def test_kube_score_finds_only_what_is_accepted(combination: Combination, helm: Helm, kube_score: str) -> None:
    """Every failed check is among those that `nimify validate` accepts; the default chart fails those above only."""
    accepted = ACCEPTED_ALWAYS if combination.name == "default" else set(ACCEPTED)

    assert failed_checks(kube_score, helm, combination) <= accepted


def test_what_is_accepted_is_still_needed(helm: Helm, kube_score: str, all_combinations: list[Combination]) -> None:
    """The list of `nimify validate` holds nothing that no longer fails."""
    failed = set().union(*(failed_checks(kube_score, helm, combination) for combination in all_combinations))

    assert failed == set(ACCEPTED)


def failed_checks(program: str, helm: Helm, combination: Combination) -> set[str]:
    """Ids of the checks that kube-score grades as critical or as a warning, over the Kubernetes objects."""
    if combination.name in _SCORED:
        return _SCORED[combination.name]
    documents = helm.render(combination.values, kubernetes="1.37")
    file: Path = helm.scratch / "rendered.yaml"
    file.write_text(yaml.dump_all(documents, Dumper=yaml.CSafeDumper), encoding="utf-8")
    done = subprocess.run(
        [program, "score", "--kubernetes-version", "v1.37", "--output-format", "json", "--output-version", "v2",
         str(file)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    _SCORED[combination.name] = {
        check["check"]["id"]
        for scored in json.loads(done.stdout)
        for check in scored["checks"]
        if not check["skipped"] and check["grade"] < 10
    }
    return _SCORED[combination.name]
