"""The `kubernetes` target, as the contract has it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.errors import BundleDamaged, ConfigError, EnvironmentProblem, NotDeployed
from nimify.filesystem import remove_tree
from nimify.images.reference import ImageName
from nimify.programs import ProgramFailed
from nimify.serving.paths import METRICS_PATH
from nimify.serving.ports import HTTP_PORT
from nimify.targets.kubernetes.cluster import Cluster, Document, check_namespace
from nimify.targets.kubernetes.lease import DeployerLease, only_one_deployer
from nimify.targets.kubernetes.pods import instance_of, is_ready, reasons_of, rolled_out
from nimify.targets.kubernetes.preflight import changes_between, cluster_findings, kind_findings, machine_findings
from nimify.targets.kubernetes.release import Release, ReleaseRevision
from nimify.targets.kubernetes.rollout import Rollout, selector_of
from nimify.targets.proof import Proofs
from nimify.targets.target import (
    Applied,
    Deployment,
    Forecast,
    Order,
    Phase,
    Progress,
    Reference,
    Revision,
)

NAME: Final = "kubernetes"
CHART: Final = "chart"
_SETTING: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.\[\]-]{0,200}")


class KubernetesTarget:
    """A Helm release in a namespace of a cluster."""

    summary = "the bundle's Helm chart on a Kubernetes cluster"

    def preflight(self, order: Order | None) -> Forecast:
        """See the contract."""
        reference = Reference("any") if order is None else order.reference
        cluster, release = _cluster(reference), _release(reference)
        findings = machine_findings(cluster.program, release) or cluster_findings(cluster)
        if order is None or order.bundle is None or Forecast(tuple(findings)).errors:
            return Forecast(tuple(findings))
        chart = _chart(order.bundle)
        _check(order)
        try:
            rendered = release.rendered(chart, _values(order), order.settings)
            findings += kind_findings(cluster, rendered)
            return Forecast(tuple(findings), tuple(changes_between(release.manifest(), rendered)))
        except ProgramFailed as error:
            raise NotDeployed(f"Helm refuses the chart, and nothing changed: {error}.") from error

    def apply(self, order: Order, progress: Progress) -> Applied:
        """See the contract."""
        _check(order)
        cluster, release = _cluster(order.reference), _release(order.reference)
        try:
            with only_one_deployer(cluster, order.reference.name) as lease:
                changed = self._carry_out(order, progress, cluster, release, lease)
            return Applied(changed, self.status(order.reference))
        except ProgramFailed as error:
            raise NotDeployed(f"The cluster refuses: {error}.") from error

    def status(self, reference: Reference) -> Deployment:
        """See the contract."""
        cluster, release = _cluster(reference), _release(reference)
        try:
            history = release.history()
            deployments = cluster.find("deployments", selector_of(reference.name)) if history else []
            pods = _pods(cluster, deployments)
        except ProgramFailed as error:
            raise EnvironmentProblem(f"The cluster cannot be asked: {error}.") from error
        if not history:
            return Deployment(NAME, reference, Phase.ABSENT)
        phase, reason = _phase(deployments, pods, history)
        return Deployment(
            NAME,
            reference,
            phase,
            _address(deployments),
            reason,
            tuple(instance_of(pod) for pod in pods),
            tuple(_revision(revision) for revision in reversed(history)),
        )

    def remove(self, reference: Reference, progress: Progress, *, purge: bool = False) -> bool:
        """See the contract."""
        cluster, release = _cluster(reference), _release(reference)
        try:
            with only_one_deployer(cluster, reference.name):
                history = release.history()
                running = bool(history) and history[-1].status != "uninstalled"
                if running or (history and purge):
                    progress(f"The release '{reference.name}' is removed; its pods finish their requests.")
                    release.uninstall(keep_history=not purge)
        except ProgramFailed as error:
            raise EnvironmentProblem(f"The cluster refuses: {error}.") from error
        if purge:
            remove_tree(Proofs(NAME, reference.name).folder)
        return running or (purge and bool(history))

    def logs(self, reference: Reference, *, lines: int, follow: bool) -> Iterator[str]:
        """See `KeepsLogs`."""
        selector = f"app.kubernetes.io/instance={reference.name}"
        try:
            yield from _cluster(reference).logs(selector, lines=lines, follow=follow)
        except ProgramFailed as error:
            raise EnvironmentProblem(f"The cluster cannot be asked: {error}.") from error

    def metrics(self, reference: Reference, instance: str) -> str:
        """See `ProxiesMetrics`."""
        try:
            return _cluster(reference).pod_metrics(instance, HTTP_PORT, METRICS_PATH)
        except ProgramFailed as error:
            raise EnvironmentProblem(str(error)) from error

    def _carry_out(
        self, order: Order, progress: Progress, cluster: Cluster, release: Release, lease: DeployerLease
    ) -> bool:
        proofs = Proofs(NAME, order.reference.name)
        deadline_s = time.monotonic() + order.timeout_s
        rollout = Rollout(cluster, release, proofs, lease, order, progress, deadline_s)
        if order.bundle is None:
            rollout.go_back()
            return True
        chart, values = _chart(order.bundle), _values(order)
        same = not changes_between(release.manifest(), release.rendered(chart, values, order.settings))
        if same and self.status(order.reference).phase is Phase.RUNNING:
            return False
        rollout.deploy(order.bundle, chart, values)
        return True


def _cluster(reference: Reference) -> Cluster:
    return Cluster(reference.namespace)


def _release(reference: Reference) -> Release:
    return Release(reference.name, reference.namespace)


def _chart(bundle: Bundle) -> Path:
    chart = bundle.path / CHART
    if not (chart / "Chart.yaml").is_file():
        raise BundleDamaged(f"'{bundle.path}' has no chart.", remedy="Make it again with: nimify create MODEL --force")
    return chart


def _values(order: Order) -> Mapping[str, str]:
    """What the chart is told beside its own values: the image, when one is named."""
    if not order.image:
        return {}
    name = ImageName.parse(order.image, field="--image")
    return {"image.repository": name.repository, "image.tag": name.tag, "image.digest": name.digest}


def _check(order: Order) -> None:
    """Refuse what Helm would read as something else."""
    check_namespace(order.reference.namespace)
    for name in order.settings:
        if not _SETTING.fullmatch(name):
            raise ConfigError(
                f"'{name}' is no value of the chart.",
                field="--set",
                remedy="Write it as in values.yaml: replicaCount=2.",
            )


def _pods(cluster: Cluster, deployments: list[Document]) -> list[Document]:
    if not deployments:
        return []
    labels = deployments[0]["spec"]["selector"]["matchLabels"]
    return cluster.find("pods", ",".join(f"{key}={value}" for key, value in labels.items()))


def _phase(deployments: list[Document], pods: list[Document], history: list[ReleaseRevision]) -> tuple[Phase, str]:
    if not deployments:
        stopped = history[-1].status == "uninstalled"
        return (Phase.STOPPED, "It was stopped.") if stopped else (Phase.FAILED, "Its Deployment is gone.")
    ready = sum(is_ready(pod) for pod in pods)
    if rolled_out(deployments[0]) and ready:
        return Phase.RUNNING, ""
    return (Phase.DEGRADED if ready else Phase.FAILED), reasons_of(pods)


def _address(deployments: list[Document]) -> str:
    """Where clients in the cluster reach the Service, which has the name of the Deployment."""
    if not deployments:
        return ""
    metadata = deployments[0]["metadata"]
    return f"http://{metadata['name']}.{metadata['namespace']}.svc:{HTTP_PORT}"


def _revision(revision: ReleaseRevision) -> Revision:
    return Revision(
        number=revision.number,
        live=revision.status == "deployed",
        version=revision.version,
        source=f"{revision.description} ({revision.status})",
        deployed_at=revision.updated,
    )
