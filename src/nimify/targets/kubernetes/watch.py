"""Watches a rollout to its end: every replica available, or a reason why that will not be.

It polls. A watch would have to deal with dropped connections and expired versions, and would see nothing earlier than a
second; here an API server that does not answer for a while is simply asked again until the time is over.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from nimify.programs import ProgramFailed
from nimify.targets.kubernetes.cluster import Cluster, Document
from nimify.targets.kubernetes.pods import (
    Trouble,
    is_ready,
    newest_pods,
    progress_of,
    rolled_out,
    troubles,
)
from nimify.targets.target import Progress

POLL_S: Final = 1.0
_ENDING_PROBES: Final = ("startup", "liveness")
"""The probes for which the kubelet ends a container."""


class RolloutFailed(Exception):
    """A rollout will not succeed; the text says why.

    Attributes:
        evidence: The last lines of a pod that failed.
    """

    def __init__(self, why: str, evidence: tuple[str, ...] = ()) -> None:
        super().__init__(why)
        self.evidence = evidence


@dataclass
class RolloutWatch:
    """A rollout that is under way.

    Attributes:
        cluster: Where.
        selector: Labels of the release.
        progress: Told when something changes.
        deadline_s: By when it must be done, by the monotonic clock.
    """

    cluster: Cluster
    selector: str
    progress: Progress
    deadline_s: float
    _said: dict[str, str] = field(default_factory=dict)
    _since_s: dict[tuple[str, str], float] = field(default_factory=dict)

    def to_the_end(self) -> list[Document]:
        """Wait until every replica is of the new revision and available.

        Returns:
            The pods of the new revision.

        Raises:
            RolloutFailed: It will not be, or not in time.
        """
        problem = "the cluster shows no Deployment of it"
        while True:
            try:
                if (pods := self._look()) is not None:
                    return pods
                problem = "not every pod was available"
            except ProgramFailed as error:
                problem = str(error)  # the API server may be starting again, or be overwhelmed
                self._say("API server", f"The API server does not answer as it should: {error}.")
            if time.monotonic() > self.deadline_s:
                raise RolloutFailed(f"It was not done in time: {problem}.")
            time.sleep(POLL_S)

    def _look(self) -> list[Document] | None:
        deployments = self.cluster.find("deployments", self.selector)
        if not deployments:
            return None
        deployment = deployments[0]
        labels = deployment["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        replica_sets = self.cluster.find("replicasets", selector)
        pods = newest_pods(deployment, replica_sets, self.cluster.find("pods", selector))
        self._say("rollout", progress_of(deployment))
        if rolled_out(deployment):
            return [pod for pod in pods if is_ready(pod)]
        for trouble in troubles(deployment, pods):
            self._judge(trouble)
        return None

    def _judge(self, trouble: Trouble) -> None:
        """Give up, when a trouble lasted longer than it may.

        Raises:
            RolloutFailed: It did.
        """
        since_s = self._since_s.setdefault((trouble.pod, trouble.reason), time.monotonic())
        where = f"Pod {trouble.pod}" if trouble.pod else "The Deployment"
        if time.monotonic() - since_s < trouble.patience_s:
            self._say(trouble.pod, f"{where}: {trouble.message.rstrip('.')}.")
            return
        probed = self._probe_failure(trouble.pod) if trouble.restarted else ""
        evidence = self.cluster.pod_log(trouble.pod, previous=trouble.restarted) if trouble.pod else ()
        if trouble.reason == "ProgressDeadlineExceeded":
            evidence = evidence or self._unhealthy()
        message = f"{trouble.message}; {probed}" if probed else trouble.message
        raise RolloutFailed(f"{where}: {message} ({trouble.reason}).", evidence)

    def _probe_failure(self, pod: str) -> str:
        """What the probe said for which the kubelet ended a container; empty when it ended by itself."""
        try:
            messages = [str(event.get("message", "")) for event in reversed(self.cluster.events(pod))]
        except ProgramFailed:
            return ""  # who may not read events is told the rest
        for probe in _ENDING_PROBES:
            if any(f"failed {probe} probe" in message for message in messages):
                return next(
                    (message for message in messages if message.startswith(f"{probe.title()} probe failed")), ""
                )
        return ""

    def _unhealthy(self) -> tuple[str, ...]:
        """What the probes of pods that are not ready said."""
        said: list[str] = []
        for pod in self.cluster.find("pods", self.selector):
            if not is_ready(pod):
                name = str(pod["metadata"]["name"])
                said += [str(event.get("message", "")) for event in self.cluster.events(name)[-3:]]
                said += self.cluster.pod_log(name)
        return tuple(said[-20:])

    def _say(self, about: str, sentence: str) -> None:
        """Tell it, unless it was what was told last about the same."""
        if self._said.get(about) != sentence:
            self._said[about] = sentence
            self.progress(sentence)
