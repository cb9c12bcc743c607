"""Every decision about where the service runs, in the order in which they are taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nimify.analysis.analysis import Analysis
from nimify.config import DeploymentConfig
from nimify.planning.exposure import decide_exposure
from nimify.planning.plan import Decision, asked_or_default
from nimify.planning.pod import decide_pod_memory, decide_scratch
from nimify.planning.probes import decide_shutdown, decide_startup
from nimify.planning.scaling import decide_scaling


def decide_deployment(analysis: Analysis, asked: DeploymentConfig, decisions: Iterable[Decision]) -> list[Decision]:
    """`deployment.*`.

    Args:
        analysis: What is known of the model.
        asked: What was asked for.
        decisions: Those about the service itself, which these rest on.

    Raises:
        ConfigError: What was asked for contradicts itself.
    """
    by_key = {decision.key: decision for decision in decisions}
    decided: dict[str, Any] = {key: decision.value for key, decision in by_key.items()}
    family = asked_or_default(
        "deployment.family", asked.family, "cpu", "The embedded engine runs on every node, and its image is small."
    )
    tensorrt: bool = decided["tensorrt.enabled"]
    return [
        family,
        *decide_scaling(
            analysis,
            asked,
            max_batch_size=decided["batching.max_batch_size"],
            max_queue_size=decided["limits.max_queue_size"],
        ),
        decide_startup(analysis, asked, family=family.value, tensorrt=tensorrt),
        *decide_shutdown(asked, decided, family=family.value),
        *decide_pod_memory(by_key["resources.memory"], by_key["resources.memory_limit"], family=family.value),
        *decide_scratch(analysis.model.size_bytes, family=family.value, tensorrt=tensorrt),
        *decide_exposure(asked, request_timeout_s=decided["limits.request_timeout_s"]),
    ]
