"""Alerts on replicas: gone, not ready, restarting, or serving another model."""

from __future__ import annotations

from typing import Final

from nimify.artifacts.monitoring.alert import CRITICAL, INSTANCE, NUMBER, WARNING, Alert
from nimify.artifacts.monitoring.burn_rates import HOUR_S, MINUTE_S
from nimify.artifacts.monitoring.promql import BY_SERVICE, quoted
from nimify.artifacts.monitoring.watched import WatchedService

FAILED_LOADS: Final = 2
RESTARTS: Final = 3


def health_alerts(service: WatchedService) -> list[Alert]:
    """The alerts, those that wake somebody first."""
    return [
        *_unavailable(service),
        *_replica_unavailable(service),
        *_restarting(service),
        _model_drift(service),
    ]


def _unavailable(service: WatchedService) -> list[Alert]:
    return [
        Alert(
            "NimAbsent",
            CRITICAL,
            f"absent(up{{{service.job}}} == 1)",
            summary="no replica answers",
            description="Prometheus has no target of this service that it can scrape.",
            for_s=5 * MINUTE_S,
        ),
        Alert(
            "NimNoneReady",
            CRITICAL,
            f"max {BY_SERVICE} (nim_ready{{{service.job}}}) == 0",
            summary="replicas run, and none is ready",
            description="Every replica says that it cannot answer requests.",
            for_s=5 * MINUTE_S,
        ),
    ]


def _replica_unavailable(service: WatchedService) -> list[Alert]:
    loads, window = f"process_start_time_seconds{{{service.job}}}", service.time(30 * MINUTE_S)
    return [
        Alert(
            "NimReplicaDown",
            WARNING,
            f"up{{{service.job}}} == 0",
            summary="a replica does not answer",
            description=f"{INSTANCE} could not be scraped for five minutes.",
            for_s=5 * MINUTE_S,
        ),
        Alert(
            "NimNotReady",
            WARNING,
            f"nim_ready{{{service.job}}} == 0",
            summary="a replica runs and does not get ready",
            description=f"{INSTANCE} has not been ready for ten minutes.",
            for_s=10 * MINUTE_S,
        ),
        Alert(
            "NimLoadFailing",
            WARNING,
            f"changes({loads}[{window}]) >= {FAILED_LOADS} and "
            f"max_over_time(nim_ready{{{service.job}}}[{window}]) == 0",
            summary="a replica restarts again and again without getting ready",
            description=f"{INSTANCE} started {NUMBER} more times within 30 minutes, and its model never was loaded.",
        ),
    ]


def _restarting(service: WatchedService) -> list[Alert]:
    starts, hour = f"process_start_time_seconds{{{service.job}}}", service.time(HOUR_S)
    deaths, window = f"nim_worker_restarts_total{{{service.job}}}", service.time(30 * MINUTE_S)
    return [
        Alert(
            "NimRestarting",
            WARNING,
            f"changes({starts}[{hour}]) >= {RESTARTS}",
            summary="a replica keeps restarting",
            description=f"{INSTANCE} restarted {NUMBER} times within an hour.",
        ),
        Alert(
            "NimWorkersDying",
            WARNING,
            f"increase({deaths}[{window}]) > 0",
            summary="worker processes die and are replaced",
            description=f"Workers of {INSTANCE} died within 30 minutes; what they were computing was lost.",
        ),
    ]


def _model_drift(service: WatchedService) -> Alert:
    return Alert(
        "NimModelDrift",
        WARNING,
        f"nim_build_info{{{service.job}, model_digest!={quoted(service.model_digest)}}}",
        summary="a replica serves another model than the one that was planned",
        description=f"{INSTANCE} serves {{{{ $labels.model_digest }}}}, not {service.model_digest}.",
        for_s=30 * MINUTE_S,
    )
