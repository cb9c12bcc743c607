"""Whether new pods keep a bundle's promises: its golden requests are replayed in them, past the Service."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.programs import ProgramFailed
from nimify.serving.ports import HTTP_PORT
from nimify.targets.kubernetes.cluster import Cluster
from nimify.targets.kubernetes.pods import Document
from nimify.targets.kubernetes.watch import RolloutFailed
from nimify.targets.target import Progress
from nimify.targets.verification import Unfit, verify

_MOST: Final = 3
"""Pods of one revision are alike; a few of them prove it."""
_TRIES: Final = 3
"""A connection through the API server may fail where the pod does not."""
_PAUSE_S: Final = 2.0


def prove_pods(
    cluster: Cluster,
    pods: Sequence[Document],
    bundle: Bundle | None,
    progress: Progress,
    headers: Mapping[str, str],
) -> None:
    """Hold pods to their bundle, when it is on this machine; say which it was.

    Args:
        cluster: Where they are.
        pods: Of one revision.
        bundle: What they should serve, as far as it is known.
        progress: Told what came of it.
        headers: Sent with the golden requests, such as a key.

    Raises:
        RolloutFailed: One answers otherwise, or not at all.
    """
    if bundle is None:
        progress("The golden requests of this revision are not on this machine; its pods say they are ready.")
        return
    for pod in pods[:_MOST]:
        name = str(pod["metadata"]["name"])
        try:
            _prove(cluster, name, bundle, headers)
        except (Unfit, ProgramFailed) as error:
            raise RolloutFailed(f"Pod {name}: {error}", cluster.pod_log(name)) from error
    progress("The new pods answer the golden requests as recorded.")


def _prove(cluster: Cluster, pod: str, bundle: Bundle, headers: Mapping[str, str]) -> None:
    for left in reversed(range(_TRIES)):
        try:
            with cluster.forwarded(pod, HTTP_PORT) as url:
                verify(url, bundle, within_s=10.0, headers=headers)
            break
        except ProgramFailed:
            if not left:
                raise
            time.sleep(_PAUSE_S)
