"""A target whose service is a custom resource, as the contract has it; the kind of resource is all that differs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import ClassVar

from nimify.artifacts.pod import resource_name
from nimify.errors import EnvironmentProblem, NotDeployed
from nimify.filesystem import remove_tree
from nimify.programs import ProgramFailed
from nimify.serving.paths import METRICS_PATH
from nimify.serving.ports import HTTP_PORT
from nimify.targets.custom_resource.document import IMAGE, MODEL, annotation, revision_of
from nimify.targets.custom_resource.history import History, KeptRevision
from nimify.targets.custom_resource.kind import Document, ResourceKind
from nimify.targets.custom_resource.preflight import (
    changes,
    machine_findings,
    monitor_findings,
    order_findings,
    permission_findings,
    written,
)
from nimify.targets.custom_resource.rollout import Rollout, refuse_strange
from nimify.targets.custom_resource.settings import ResourceSettings
from nimify.targets.custom_resource.watch import pods_of, selector_of
from nimify.targets.kubernetes.cluster import Cluster, check_namespace
from nimify.targets.kubernetes.lease import only_one_deployer
from nimify.targets.kubernetes.pods import instance_of, is_ready, reasons_of
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


class CustomResourceTarget:
    """A custom resource in a namespace of a cluster.

    Attributes:
        kind: Of the resource.
    """

    summary: str = ""
    kind: ClassVar[ResourceKind]

    def preflight(self, order: Order | None) -> Forecast:
        """See the contract."""
        cluster = _cluster(Reference("any") if order is None else order.reference)
        if order is None or order.bundle is None:
            return Forecast(tuple(machine_findings(cluster, self.kind)))
        ResourceSettings.parse(order.settings, target=self.kind.target)
        lacking = list(order_findings(self.kind, order))
        if lacking:
            return Forecast(tuple(lacking))
        document, where = written(self.kind, order, order.bundle)
        machine = machine_findings(cluster, self.kind)
        if machine:
            return Forecast(tuple(machine), (where,))
        try:
            findings = [
                *permission_findings(cluster, self.kind),
                *monitor_findings(cluster, self.kind, document),
            ]
            lines = list(changes(cluster, self.kind, order, order.bundle))
        except ProgramFailed as error:
            raise NotDeployed(f"The cluster refuses, and nothing changed: {error}.") from error
        return Forecast(tuple(findings), (*lines, where) if lines else ())

    def apply(self, order: Order, progress: Progress) -> Applied:
        """See the contract."""
        cluster, name = _cluster(order.reference), order.reference.name
        history = History(cluster, self.kind.target, name)
        deadline_s = time.monotonic() + order.timeout_s
        proofs = Proofs(self.kind.target, name)
        rollout = Rollout(cluster, self.kind, history, proofs, order, progress, deadline_s)
        try:
            with only_one_deployer(cluster, name):
                changed = rollout.go_back() if order.bundle is None else rollout.deploy(order.bundle)
            return Applied(changed, self.status(order.reference))
        except ProgramFailed as error:
            raise NotDeployed(f"The cluster refuses: {error}.") from error

    def status(self, reference: Reference) -> Deployment:
        """See the contract."""
        cluster, name = _cluster(reference), resource_name(reference.name)
        try:
            live = cluster.get(self.kind.resource, name)
            kept = History(cluster, self.kind.target, reference.name).revisions()
            deployment = cluster.get("deployments.apps", self.kind.deployment(name)) if live is not None else None
            pods = pods_of(cluster, deployment) if deployment is not None else []
        except ProgramFailed as error:
            raise EnvironmentProblem(f"The cluster cannot be asked: {error}.") from error
        phase, reason = self._phase(live, pods, kept)
        return Deployment(
            self.kind.target,
            reference,
            phase,
            "" if live is None else self._address(live, deployment),
            reason,
            tuple(instance_of(pod) for pod in pods),
            tuple(_revision(revision, live) for revision in reversed(kept)),
        )

    def remove(self, reference: Reference, progress: Progress, *, purge: bool = False) -> bool:
        """See the contract."""
        cluster, name = _cluster(reference), resource_name(reference.name)
        history = History(cluster, self.kind.target, reference.name)
        try:
            with only_one_deployer(cluster, reference.name):
                live = cluster.get(self.kind.resource, name)
                refuse_strange(live, self.kind)
                running = live is not None
                if running:
                    progress(f"The {self.kind.kind} '{name}' is deleted; its pods finish their requests.")
                    cluster.delete(self.kind.resource, name)
                kept = history.revisions() if purge else []
                for revision in kept:
                    history.discard(revision.number)
        except ProgramFailed as error:
            raise EnvironmentProblem(f"The cluster refuses: {error}.") from error
        if purge:
            remove_tree(Proofs(self.kind.target, reference.name).folder)
        return running or bool(kept)

    def logs(self, reference: Reference, *, lines: int, follow: bool) -> Iterator[str]:
        """See `KeepsLogs`."""
        cluster = _cluster(reference)
        try:
            deployment = cluster.get("deployments.apps", self.kind.deployment(resource_name(reference.name)))
            if deployment is None:
                raise EnvironmentProblem(f"The cluster has no Deployment of '{reference.name}'.")
            yield from cluster.logs(selector_of(deployment), lines=lines, follow=follow)
        except ProgramFailed as error:
            raise EnvironmentProblem(f"The cluster cannot be asked: {error}.") from error

    def metrics(self, reference: Reference, instance: str) -> str:
        """See `ProxiesMetrics`."""
        try:
            return _cluster(reference).pod_metrics(instance, HTTP_PORT, METRICS_PATH)
        except ProgramFailed as error:
            raise EnvironmentProblem(str(error)) from error

    def _phase(self, live: Document | None, pods: list[Document], kept: list[KeptRevision]) -> tuple[Phase, str]:
        if live is None:
            return (Phase.STOPPED, "It was stopped.") if kept else (Phase.ABSENT, "")
        verdict, ready = self.kind.verdict(live), sum(is_ready(pod) for pod in pods)
        if verdict.ready and ready:
            return Phase.RUNNING, ""
        reasons = reasons_of(pods)
        reason = reasons or verdict.message
        if ready:
            return Phase.DEGRADED, reason
        return (Phase.FAILED if verdict.failed or reasons else Phase.STARTING), reason

    def _address(self, live: Document, deployment: Document | None) -> str:
        """Where the operator says that clients find it, or else the Service in the cluster."""
        url = self.kind.verdict(live).url
        if url:
            return url if "://" in url else f"http://{url}"
        if deployment is None:
            return ""
        metadata = deployment["metadata"]
        return f"http://{metadata['name']}.{metadata['namespace']}.svc:{HTTP_PORT}"


def _cluster(reference: Reference) -> Cluster:
    check_namespace(reference.namespace)
    return Cluster(reference.namespace)


def _revision(revision: KeptRevision, live: Document | None) -> Revision:
    return Revision(
        number=revision.number,
        live=live is not None and revision_of(live) == revision.number,
        version=revision.version,
        model_digest=annotation(revision.document, MODEL),
        source=annotation(revision.document, IMAGE) + ("" if revision.proven else " (not proven)"),
        deployed_at=revision.made_at,
    )
