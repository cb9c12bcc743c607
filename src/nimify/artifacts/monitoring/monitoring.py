"""The monitoring files of a bundle."""

from __future__ import annotations

from typing import Any, Final

from nimify.artifacts.artifact import Artifact, json_artifact
from nimify.artifacts.monitoring.dashboard import DASHBOARD_FILE, dashboard
from nimify.artifacts.monitoring.rules import RULES_FILE, rules
from nimify.artifacts.monitoring.rules_test import RULES_TEST_FILE, rules_test
from nimify.artifacts.monitoring.runbook import runbook_artifacts
from nimify.artifacts.monitoring.scraping import PROMETHEUS_FILE, prometheus_config
from nimify.artifacts.monitoring.watched import WatchedService
from nimify.artifacts.yaml_file import yaml_artifact
from nimify.planning.plan import ServicePlan
from nimify.serving.ports import HTTP_PORT, METRICS_PORT

CHART_FILES: Final = "chart/files"
"""Where the chart finds its copies: Helm reads nothing outside of a chart."""
_GENERATED: Final = "Written by nimify. Change nimify.yaml instead, and run: nimify create\n"
_RULES_HEADER: Final = _GENERATED + "Rules for Prometheus. Check them with: promtool test rules rules.test.yaml\n"
_PROMETHEUS_HEADER: Final = (
    _GENERATED + "Without a cluster: prometheus --config.file=prometheus.yaml, beside the service on this machine.\n"
)
LOCAL_HOST: Final = "127.0.0.1"


def monitoring_artifacts(plan: ServicePlan) -> list[Artifact]:
    """Rules, their tests, the dashboard, the runbooks and a configuration of Prometheus."""
    service = WatchedService.of(plan)
    rule_file = yaml_artifact(RULES_FILE, rules(service), header=_RULES_HEADER)
    board = json_artifact(DASHBOARD_FILE, dashboard(service))
    scraping = prometheus_for(plan, LOCAL_HOST)
    return [
        rule_file,
        yaml_artifact(RULES_TEST_FILE, rules_test(service), header=_GENERATED),
        board,
        yaml_artifact(PROMETHEUS_FILE, scraping, header=_PROMETHEUS_HEADER),
        *runbook_artifacts(),
        Artifact(f"{CHART_FILES}/rules.yaml", rule_file.content),
        Artifact(f"{CHART_FILES}/dashboard.json", board.content),
    ]


def prometheus_for(plan: ServicePlan, host: str) -> dict[str, Any]:
    """The configuration of a Prometheus that scrapes one replica at its usual ports, Triton's included."""
    triton = [f"{host}:{METRICS_PORT}"] if plan.value("deployment.family") == "triton" else []
    return prometheus_config(WatchedService.of(plan), [f"{host}:{HTTP_PORT}"], triton=triton)
