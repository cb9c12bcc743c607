"""dashboard.json: one Grafana dashboard, for one service over all of its replicas."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from nimify.artifacts.monitoring.panel import DATASOURCE, SERVICE, laid_out
from nimify.artifacts.monitoring.panels import rows
from nimify.artifacts.monitoring.watched import WatchedService

DASHBOARD_FILE: Final = "monitoring/dashboard.json"
_SCHEMA_VERSION: Final = 39
"""Of Grafana 11; later ones read it, too."""


def dashboard(service: WatchedService) -> dict[str, Any]:
    """The dashboard as plain data; the same service gets the same address in every Grafana."""
    # Grafana allows 40 characters.
    uid = "nimify-" + hashlib.sha256(service.name.encode()).hexdigest()[:16]
    return {
        "uid": uid,
        "title": service.name,
        "description": "An inference service made with nimify.",
        "tags": ["nimify", "inference"],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "",
        "templating": {"list": _variables(service)},
        "panels": laid_out(rows(service)),
    }


def _variables(service: WatchedService) -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        _choice("namespace", "Namespace", "label_values(nim_build_info, namespace)", several=True),
        {
            **_choice("service", "Service", 'label_values(nim_build_info{namespace=~"$namespace"}, job)'),
            "current": {"text": service.name, "value": service.name},
        },
        _choice("instance", "Replica", f"label_values(nim_build_info{{{SERVICE}}}, instance)", several=True),
    ]


def _choice(name: str, label: str, query: str, *, several: bool = False) -> dict[str, Any]:
    # `.*` also finds series without the label, as outside of Kubernetes.
    everything = {"allValue": ".*", "current": {"text": "All", "value": "$__all"}} if several else {}
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": several,
        "includeAll": several,
        **everything,
    }
