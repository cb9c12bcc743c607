"""prometheus.yaml: a Prometheus that scrapes the service and evaluates its rules, where no cluster has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from nimify.artifacts.monitoring.watched import WatchedService
from nimify.serving.paths import METRICS_PATH

PROMETHEUS_FILE: Final = "monitoring/prometheus.yaml"
SCRAPE_S: Final = 15.0


def prometheus_config(service: WatchedService, targets: Sequence[str], *, triton: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration as plain data.

    Args:
        service: What is scraped; its name is the job that every rule asks for.
        targets: `host:port` of each replica.
        triton: `host:port` of each replica's Triton, whose own metrics have a job of their own: they count the same
            requests under the same names once more.
    """
    often = service.time(SCRAPE_S)
    jobs = [_job(service.name, METRICS_PATH, targets), _job(f"{service.name}-triton", "/metrics", triton)]
    return {
        "global": {"scrape_interval": often, "scrape_timeout": often, "evaluation_interval": often},
        "rule_files": ["rules.yaml"],
        "scrape_configs": jobs if triton else jobs[:1],
    }


def _job(name: str, path: str, targets: Sequence[str]) -> dict[str, Any]:
    return {"job_name": name, "metrics_path": path, "static_configs": [{"targets": list(targets)}]}
