"""The index of the model repository: the one model that is served, and where it is in its life."""

from __future__ import annotations

from nimify.serving.lifecycle import Lifecycle
from nimify.serving.spec import ServiceSpec


def repository_index(spec: ServiceSpec, lifecycle: Lifecycle, *, only_ready: bool) -> list[dict[str, str]]:
    """What Triton's repository index would say.

    Args:
        spec: The model that is served.
        lifecycle: Where it is in its life.
        only_ready: Leave out a model that cannot answer.
    """
    if lifecycle.ready:
        return [{"name": spec.name, "version": spec.model_version, "state": "READY"}]
    if only_ready:
        return []
    state = "UNAVAILABLE" if lifecycle.is_stopping else "LOADING"
    return [{"name": spec.name, "version": spec.model_version, "state": state, "reason": lifecycle.reason}]
