"""Alerts on the objectives: the budget of errors, or of slow answers, is being spent too fast."""

from __future__ import annotations

from nimify.artifacts.monitoring.alert import PERCENT, Alert
from nimify.artifacts.monitoring.burn_rates import BurnRate, reachable
from nimify.artifacts.monitoring.promql import duration, number
from nimify.artifacts.monitoring.recording import ERRORS, SLOW, ratio
from nimify.artifacts.monitoring.watched import WatchedService

ERROR_BUDGET = "NimErrorBudgetBurn"
LATENCY_BUDGET = "NimLatencyBudgetBurn"


def objective_alerts(service: WatchedService) -> list[Alert]:
    """One rule for each pair of windows and each objective."""
    errors, slow = error_budget(service), slow_budget(service)
    return [
        *(_error_alert(service, rate, errors) for rate in reachable(errors)),
        *(_latency_alert(service, rate, slow) for rate in reachable(slow)),
    ]


def error_budget(service: WatchedService) -> float:
    """The share of requests that may fail."""
    return round(1 - service.availability, 9)


def slow_budget(service: WatchedService) -> float:
    """The share of answers that may be late."""
    return round(1 - service.latency_share, 9)


def _error_alert(service: WatchedService, rate: BurnRate, budget: float) -> Alert:
    return Alert(
        ERROR_BUDGET,
        rate.severity,
        _burning(service, ERRORS, rate, budget),
        summary="requests fail faster than the availability objective allows",
        description=(
            f"{PERCENT} of requests failed within {duration(rate.long_s)}, {number(rate.factor)} times what the "
            f"objective of {number(service.availability * 100)}% allows. {rate.spent} of the budget of 30 days is gone."
        ),
        labels={"long_window": duration(rate.long_s)},
    )


def _latency_alert(service: WatchedService, rate: BurnRate, budget: float) -> Alert:
    return Alert(
        LATENCY_BUDGET,
        rate.severity,
        _burning(service, SLOW, rate, budget),
        summary="answers are slower than the latency objective allows",
        description=(
            f"{PERCENT} of answers took longer than {number(service.latency_s)} s within {duration(rate.long_s)}, "
            f"{number(rate.factor)} times what the objective of {number(service.latency_share * 100)}% in time allows. "
            f"{rate.spent} of the budget of 30 days is gone."
        ),
        labels={"long_window": duration(rate.long_s)},
    )


def _burning(service: WatchedService, name: str, rate: BurnRate, budget: float) -> str:
    limit = number(rate.factor * budget)
    long, short = ratio(name, rate.long_s), ratio(name, rate.short_s)
    return f"{long}{{{service.job}}} > {limit} and {short}{{{service.job}}} > {limit}"
