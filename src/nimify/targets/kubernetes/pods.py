"""What pods and their Deployment say of a rollout: done, under way, or never to be done, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nimify.targets.target import Instance

Document = Mapping[str, Any]
REVISION: Final = "deployment.kubernetes.io/revision"
HASH: Final = "pod-template-hash"
_HOPELESS: Final = {
    "ImagePullBackOff": "its image cannot be pulled",
    "InvalidImageName": "the name of its image is wrong",
    "ErrImageNeverPull": "its image is not on the node, and must not be pulled",
    "CreateContainerConfigError": "a Secret or ConfigMap that it needs is missing",
    "CreateContainerError": "its container cannot be made",
    "RunContainerError": "its container cannot be started",
    "CrashLoopBackOff": "it ends again and again",
}
"""Reasons of a waiting container that do not go away by waiting."""
_KNOWS_NO_ROLES: Final = "cannot create resource"
"""In the message for a pod that was not made: an API server that has just started has yet to read who may what, and
refuses even the controllers of the cluster. A quota or a policy says something else."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a rollout will not succeed by itself.

    Attributes:
        reason: In the cluster's word, e.g. `ImagePullBackOff`.
        message: A clause that says it, and the cluster's own words.
        pod: Whose; empty when it is the Deployment's.
        restarted: Whether the pod's container ran before, so that it left a log.
        patience_s: How long it may yet go away by itself.
    """

    reason: str
    message: str
    pod: str = ""
    restarted: bool = False
    patience_s: float = 0.0


def rolled_out(deployment: Document) -> bool:
    """Whether every replica is of the new revision and available, and no old one is left."""
    spec, status = deployment["spec"], deployment.get("status", {})
    wanted = spec.get("replicas", 1)
    counts = (status.get("updatedReplicas", 0), status.get("replicas", 0), status.get("availableReplicas", 0))
    return _observed(deployment) and counts == (wanted, wanted, wanted)


def progress_of(deployment: Document) -> str:
    """How far it is, in one sentence."""
    wanted, status = deployment["spec"].get("replicas", 1), deployment.get("status", {})
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    return f"{updated} of {wanted} pods are of the new revision, and {available} are available."


def newest_pods(
    deployment: Document, replica_sets: Sequence[Document], pods: Sequence[Document]
) -> list[dict[str, Any]]:
    """The pods of the Deployment's present revision, less those that are going."""
    wanted = deployment["metadata"].get("annotations", {}).get(REVISION)
    hashes = {
        replica_set["metadata"].get("labels", {}).get(HASH)
        for replica_set in replica_sets
        if replica_set["metadata"].get("annotations", {}).get(REVISION) == wanted
    }
    return [
        dict(pod)
        for pod in pods
        if pod["metadata"].get("labels", {}).get(HASH) in hashes and "deletionTimestamp" not in pod["metadata"]
    ]


def is_ready(pod: Document) -> bool:
    """Whether a pod answers."""
    return _condition(pod, "Ready").get("status") == "True"


def troubles(deployment: Document, pods: Sequence[Document]) -> Iterator[Trouble]:
    """What will not go away by waiting, the gravest first."""
    for pod in pods:
        yield from _pod_troubles(pod)
    if not _observed(deployment):
        return
    failure = _condition(deployment, "ReplicaFailure")
    if failure.get("status") == "True":
        # A quota, or an admission policy that forbids the pod.
        said = str(failure.get("message", ""))
        patience_s = 60.0 if _KNOWS_NO_ROLES in said else 0.0
        reason = str(failure.get("reason", "ReplicaFailure"))
        yield Trouble(reason, f"no pod can be made: {said}", patience_s=patience_s)
    progressing = _condition(deployment, "Progressing")
    if progressing.get("status") == "False":
        yield Trouble(str(progressing.get("reason")), "it made no progress within its deadline")


def state_of(pod: Document) -> tuple[str, str]:
    """The state of a pod in one word, and why it is not ready; empty when it is."""
    for trouble in _pod_troubles(pod):
        return trouble.reason, trouble.message
    phase = str(pod.get("status", {}).get("phase", "Unknown"))
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating", "it is going"
    return phase, "" if is_ready(pod) else str(_condition(pod, "Ready").get("message", "it is not ready"))


def restarts_of(pod: Document) -> int:
    """How often its containers were started again."""
    return sum(int(status.get("restartCount", 0)) for status in _containers(pod))


def _pod_troubles(pod: Document) -> Iterator[Trouble]:
    name = str(pod["metadata"]["name"])
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        message = f"no node takes it: {str(scheduled.get('message', '')).rstrip('.')}"
        # An autoscaler may bring a node, or a pod that goes may make room.
        yield Trouble("Unschedulable", message, name, patience_s=60.0)
    for status in _containers(pod):
        waiting = status.get("state", {}).get("waiting", {})
        restarted = int(status.get("restartCount", 0)) > 0
        if waiting.get("reason") in _HOPELESS:
            yield Trouble(waiting["reason"], _waiting_message(status, waiting), name, restarted)
        elif restarted and not status.get("ready"):
            ended = status.get("lastState", {}).get("terminated", {})
            # A first crash may be a stranger's fault; a pod of a good revision comes up the second time.
            yield Trouble(str(ended.get("reason", "Error")), _ended_message(ended), name, restarted, patience_s=30.0)


def _waiting_message(status: Document, waiting: Document) -> str:
    clause = _HOPELESS[waiting["reason"]]
    if waiting["reason"] == "CrashLoopBackOff":
        ended = status.get("lastState", {}).get("terminated", {})
        return f"{clause}; {_ended_message(ended)}"
    return f"{clause}: {waiting['message']}" if waiting.get("message") else clause


def _ended_message(ended: Document) -> str:
    if ended.get("reason") == "OOMKilled":
        return "it used more memory than its limit and was killed"
    return f"its container ended with status {ended.get('exitCode', 'unknown')}"


def _observed(deployment: Document) -> bool:
    """Whether the controller has seen what was asked last: what it says before that is about something else."""
    return int(deployment.get("status", {}).get("observedGeneration", 0)) >= int(deployment["metadata"]["generation"])


def _condition(document: Document, kind: str) -> Document:
    for condition in document.get("status", {}).get("conditions", []):
        if condition.get("type") == kind:
            return dict(condition)
    return {}


def _containers(pod: Document) -> list[Document]:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def instance_of(pod: Document) -> Instance:
    """A pod as an instance of its service."""
    state, reason = state_of(pod)
    return Instance(str(pod["metadata"]["name"]), is_ready(pod), state, reason, restarts_of(pod))


def reasons_of(pods: Iterable[Document]) -> str:
    """Why pods are not ready, each reason once; empty when none says."""
    reasons = [reason for pod in pods if not is_ready(pod) for _, reason in [state_of(pod)] if reason]
    return "; ".join(dict.fromkeys(reasons))
