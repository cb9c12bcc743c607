"""How good the service is to be: what alerts and dashboards hold it to."""

from __future__ import annotations

from typing import Final

from nimify.analysis.analysis import Analysis
from nimify.config import ObjectivesConfig
from nimify.errors import ConfigError
from nimify.metrics.catalog import DURATION_BUCKETS_S
from nimify.planning.plan import Basis, Decision, asked_or_default
from nimify.planning.resources import CORE_FLOPS, TARGET_S
from nimify.quantities import human_seconds

AVAILABILITY: Final = 0.999
LATENCY_SHARE: Final = 0.99
RUNS_WAITED: Final = 2
"""A request may come while a run has just begun: it waits for that one, and then for its own."""
UNKNOWN_S: Final = 1.0
"""When nothing is known of what the model computes."""


def decide_objectives(
    analysis: Analysis, asked: ObjectivesConfig, *, max_batch_size: int, cpus: float, request_timeout_s: float
) -> list[Decision]:
    """`objectives.*`: availability, latency, and where the runbooks can be read.

    Raises:
        ConfigError: The latency is none that the service counts by, or longer than a request may take.
    """
    return [
        _availability(asked),
        _latency(analysis, asked, max(max_batch_size, 1), cpus, request_timeout_s),
        _share(asked),
        _runbooks(asked),
    ]


def _availability(asked: ObjectivesConfig) -> Decision:
    reason = "One request in a thousand may fail: what one zone of a cloud can hold, with replicas that drain."
    return asked_or_default("objectives.availability", asked.availability, AVAILABILITY, reason)


def _share(asked: ObjectivesConfig) -> Decision:
    reason = "The slowest answer in a hundred may take longer: a start, a large request, a busy neighbour."
    return asked_or_default("objectives.latency_share", asked.latency_share, LATENCY_SHARE, reason)


def _runbooks(asked: ObjectivesConfig) -> Decision:
    reason = "None: alerts name the page in this bundle, as nobody said where it is."
    return asked_or_default("objectives.runbooks_url", asked.runbooks_url, None, reason)


def _latency(
    analysis: Analysis, asked: ObjectivesConfig, max_batch_size: int, cpus: float, request_timeout_s: float
) -> Decision:
    key = "objectives.latency_s"
    if asked.latency_s is not None:
        _check_asked(key, asked.latency_s, request_timeout_s)
        return Decision(key, asked.latency_s, "You asked for it.", Basis.ASKED)
    longest_s = max(
        (bound for bound in DURATION_BUCKETS_S if bound <= request_timeout_s), default=DURATION_BUCKETS_S[0]
    )
    run_s, source, basis = _longest_run(analysis, max_batch_size, cpus)
    if run_s is None:
        value = min(UNKNOWN_S, longest_s)
        return Decision(key, value, "What the model computes is not known; this is what people wait for.", basis)
    runs = (
        f"{source} {human_seconds(run_s)} for the largest batch, and a request may wait for one such run before its own"
    )
    if RUNS_WAITED * run_s <= TARGET_S:
        return Decision(key, min(TARGET_S, longest_s), f"{runs}; this is enough, and still feels immediate.", basis)
    enough_s = min((bound for bound in DURATION_BUCKETS_S if bound >= RUNS_WAITED * run_s), default=longest_s)
    return Decision(key, min(enough_s, longest_s), f"{runs}; this is the next bound that the service counts by.", basis)


def _longest_run(analysis: Analysis, max_batch_size: int, cpus: float) -> tuple[float | None, str, Basis]:
    """Seconds of one run of the largest batch, how they are known, and what they rest on."""
    if analysis.measured is not None:
        points = analysis.measured.points
        largest = [point for point in points if point.batch <= max_batch_size][-1:] or points[:1]
        return largest[0].p99_s, "Measured:", Basis.MEASURED
    if analysis.flops_per_item is None:
        return None, "", Basis.DEFAULT
    rows = max(max_batch_size, 1)  # with batching off, a run is of one item
    return analysis.flops_per_item * rows / (CORE_FLOPS * cpus), "Estimated:", Basis.ESTIMATED


def _check_asked(key: str, seconds: float, request_timeout_s: float) -> None:
    if seconds not in DURATION_BUCKETS_S:
        near = min(DURATION_BUCKETS_S, key=lambda bound: abs(bound - seconds))
        raise ConfigError(
            f"the service does not count by {seconds:g} s.",
            field=key,
            remedy=f"Take {near:g}, or another of: {', '.join(f'{bound:g}' for bound in DURATION_BUCKETS_S)}.",
        )
    if seconds > request_timeout_s:
        raise ConfigError(
            f"no answer takes {seconds:g} s, as a request is given up after {request_timeout_s:g} s.",
            field=key,
            remedy="Lower it, or raise limits.request_timeout_s.",
        )
