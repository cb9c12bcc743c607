"""How many replicas there are, and at which queue there are more."""

from __future__ import annotations

from typing import Final

from nimify.analysis.analysis import Analysis
from nimify.config import DeploymentConfig, ScalingConfig
from nimify.errors import ConfigError
from nimify.planning.plan import Basis, Decision, asked_or_default

REPLICAS: Final = 2
GROWTH: Final = 4
"""Most replicas in terms of the least ones."""
TARGET_WAIT_S: Final = 0.1
"""What waits when another replica is started may have waited this long."""


def decide_scaling(
    analysis: Analysis, asked: DeploymentConfig, *, max_batch_size: int, max_queue_size: int
) -> list[Decision]:
    """`deployment.replicas` and `deployment.scaling.*`.

    Raises:
        ConfigError: The most are fewer than the least, or KEDA has no Prometheus to ask.
    """
    scaling = asked.scaling
    replicas = _replicas(asked)
    least = _least(scaling, replicas.value)
    most = _most(scaling, least.value)
    if most.value < least.value:
        raise ConfigError(
            f"{most.value} are fewer than the least, {least.value}.",
            field="deployment.scaling.max_replicas",
            remedy="Raise it, or lower deployment.scaling.min_replicas.",
        )
    mode = _mode(scaling)
    return [replicas, mode, least, most, _queue_target(analysis, scaling, max_batch_size, max_queue_size)]


def _replicas(asked: DeploymentConfig) -> Decision:
    reason = "One goes on answering while the node of the other is drained or fails."
    return asked_or_default("deployment.replicas", asked.replicas, REPLICAS, reason)


def _mode(scaling: ScalingConfig) -> Decision:
    if scaling.mode == "keda" and scaling.prometheus is None:
        raise ConfigError(
            "KEDA asks Prometheus for the queue, and its address is not given.",
            field="deployment.scaling.prometheus",
            remedy="Name it, e.g. http://prometheus-operated.monitoring:9090.",
        )
    reason = "A fixed number: scaling with the queue needs prometheus-adapter (hpa) or KEDA (keda) in the cluster."
    return asked_or_default("deployment.scaling.mode", scaling.mode, "none", reason)


def _least(scaling: ScalingConfig, replicas: int) -> Decision:
    key = "deployment.scaling.min_replicas"
    return asked_or_default(key, scaling.min_replicas, replicas, "As many as without scaling.")


def _most(scaling: ScalingConfig, least: int) -> Decision:
    reason = f"{GROWTH} times the least: a bound on cost, yours to move."
    return asked_or_default("deployment.scaling.max_replicas", scaling.max_replicas, GROWTH * least, reason)


def _queue_target(analysis: Analysis, scaling: ScalingConfig, max_batch_size: int, max_queue_size: int) -> Decision:
    """What one replica may have waiting (`nv_inference_pending_request_count`, averaged over the replicas)."""
    key = "deployment.scaling.queue_target"
    if scaling.queue_target is not None:
        return Decision(key, scaling.queue_target, "You asked for it.", Basis.ASKED)
    ceiling = max(max_queue_size // 2, 1)
    if analysis.measured is not None:
        rate = analysis.measured.best.rows_per_s
        value = min(max(round(rate * TARGET_WAIT_S), 1), ceiling)
        reason = (
            f"At the {rate:.0f} rows in a second that were measured, these have waited {TARGET_WAIT_S * 1000:.0f} ms, "
            "or are one request."
        )
        return Decision(key, value, reason, Basis.MEASURED)
    if max_batch_size > 1:
        reason = "One full batch: more than that waits for more than one run of the model."
        return Decision(key, min(max_batch_size, ceiling), reason, Basis.ESTIMATED)
    reason = "Requests run one by one, so a second one that waits is late already."
    return Decision(key, 1, reason, Basis.ESTIMATED)
