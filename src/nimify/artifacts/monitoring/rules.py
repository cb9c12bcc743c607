"""rules.yaml: recording and alerting rules, for Prometheus as for the Prometheus Operator."""

from __future__ import annotations

from typing import Any, Final

from nimify.artifacts.monitoring.alert import Alert
from nimify.artifacts.monitoring.health import health_alerts
from nimify.artifacts.monitoring.objectives import objective_alerts
from nimify.artifacts.monitoring.recording import recording_rules
from nimify.artifacts.monitoring.saturation import saturation_alerts
from nimify.artifacts.monitoring.watched import WatchedService

RULES_FILE: Final = "monitoring/rules.yaml"
INTERVAL_S: Final = 30.0


def alerts(service: WatchedService) -> list[Alert]:
    """Every alert of a service."""
    return [*objective_alerts(service), *saturation_alerts(service), *health_alerts(service)]


def rules(service: WatchedService) -> dict[str, Any]:
    """The rules as plain data."""
    groups = {
        "recording": recording_rules(service),
        "objectives": [alert.rule(service) for alert in objective_alerts(service)],
        "saturation": [alert.rule(service) for alert in saturation_alerts(service)],
        "health": [alert.rule(service) for alert in health_alerts(service)],
    }
    return {
        "groups": [
            {"name": f"{service.name}-{name}", "interval": service.time(INTERVAL_S), "rules": members}
            for name, members in groups.items()
        ]
    }
