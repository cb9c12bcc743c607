"""Watches what an operator makes of a resource to its end: answering, or a reason why it never will."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from nimify.targets.custom_resource.kind import REVISION_VARIABLE, Document, ResourceKind
from nimify.targets.kubernetes.cluster import Cluster
from nimify.targets.kubernetes.pods import Trouble, is_ready, progress_of, rolled_out, troubles
from nimify.targets.kubernetes.watch import RolloutFailed, RolloutWatch

_STALE_PATIENCE_S: Final = 30.0
"""How long a failure may stand that is perhaps the one of the revision before."""


@dataclass
class ResourceWatch(RolloutWatch):
    """A resource that was applied.

    Attributes:
        kind: Of which kind it is.
        name: Of the resource.
        revision: The number that the new pods bear.
    """

    kind: ResourceKind = field(kw_only=True)
    name: str = field(kw_only=True)
    revision: int = field(kw_only=True)

    def _look(self) -> list[Document] | None:
        resource = self.cluster.get(self.kind.resource, self.name)
        if resource is None:
            raise RolloutFailed(f"Somebody deleted the {self.kind.kind}.")
        verdict = self.kind.verdict(resource)
        deployment, pods = new_pods(self.cluster, self.kind, self.name, self.revision)
        if deployment is not None:
            self.selector = selector_of(deployment)
            self._say("rollout", progress_of(deployment))
            if verdict.ready and rolled_out(deployment):
                return [pod for pod in pods if is_ready(pod)]
            for trouble in troubles(deployment, pods):
                self._judge(trouble)
        if verdict.failed:
            patience_s = 0.0 if verdict.current else _STALE_PATIENCE_S
            self._judge(Trouble(verdict.failed, f"{self.kind.operator} says: {verdict.message}", patience_s=patience_s))
        elif deployment is None:
            self._say("rollout", f"{self.kind.operator} has not made the new Deployment yet: {verdict.message}.")
        return None


def new_pods(cluster: Cluster, kind: ResourceKind, name: str, revision: int) -> tuple[Document | None, list[Document]]:
    """The Deployment of a resource and its pods, when they are of that revision."""
    deployment = cluster.get("deployments.apps", kind.deployment(name))
    if deployment is None or not _bears(deployment["spec"]["template"], revision):
        return None, []
    return deployment, [pod for pod in pods_of(cluster, deployment) if _bears(pod, revision)]


def pods_of(cluster: Cluster, deployment: Document) -> list[Document]:
    """The pods of a Deployment, less those that are going."""
    found = cluster.find("pods", selector_of(deployment))
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def selector_of(deployment: Document) -> str:
    """The labels of its pods, as kubectl takes them."""
    return ",".join(f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items())


def _bears(pod: dict[str, Any], revision: int) -> bool:
    wanted = {"name": REVISION_VARIABLE, "value": str(revision)}
    return any(wanted in container.get("env", []) for container in pod["spec"]["containers"])
