"""compose.yaml: the service on one machine, locked down as it would be in a cluster, with monitoring as a profile."""

from __future__ import annotations

from typing import Any, Final

from nimify.artifacts.artifact import Artifact
from nimify.artifacts.image import CACHE_FOLDER, image_tag
from nimify.artifacts.monitoring.dashboard import DASHBOARD_FILE
from nimify.artifacts.monitoring.monitoring import prometheus_for
from nimify.artifacts.monitoring.rules import RULES_FILE
from nimify.artifacts.pod import GROUP_ID, USER_ID
from nimify.artifacts.yaml_file import yaml_artifact
from nimify.planning.plan import ServicePlan
from nimify.serving.ports import GRPC_PORT, HTTP_PORT

COMPOSE_FILE: Final = "compose.yaml"
FOLDER: Final = "monitoring/compose"
PROMETHEUS_IMAGE: Final = "prom/prometheus:v3.5.0"
GRAFANA_IMAGE: Final = "grafana/grafana:12.1.0"
SERVICE: Final = "service"
"""What the service is called among the containers; its own name might be one of the others'."""
_HEADER: Final = """\
Written by nimify. Change nimify.yaml instead, and run: nimify create
docker compose up                        the service; IMAGE names another image than that of `nimify build`
docker compose --profile monitoring up   with Prometheus on port 9090, and Grafana on port 3000
"""
_GENERATED: Final = "Written by nimify; part of compose.yaml.\n"
_DASHBOARDS: Final = "/etc/nimify/dashboards"
_HARDENED: Final = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "restart": "unless-stopped",
}


def compose_artifacts(plan: ServicePlan) -> list[Artifact]:
    """compose.yaml, and what Prometheus and Grafana read."""
    return [
        yaml_artifact(COMPOSE_FILE, compose(plan), header=_HEADER),
        yaml_artifact(f"{FOLDER}/prometheus.yaml", prometheus_for(plan, SERVICE), header=_GENERATED),
        yaml_artifact(f"{FOLDER}/datasources.yaml", _datasources(), header=_GENERATED),
        yaml_artifact(f"{FOLDER}/dashboards.yaml", _dashboards(), header=_GENERATED),
    ]


def compose(plan: ServicePlan) -> dict[str, Any]:
    """The project as plain data."""
    return {
        "name": plan.service.name,
        "services": {SERVICE: _service(plan), "prometheus": _prometheus(), "grafana": _grafana()},
    }


def _service(plan: ServicePlan) -> dict[str, Any]:
    service = plan.service
    # No load balancer has to learn of the end first.
    grace_s = plan.value("deployment.termination_grace_s") - plan.value("deployment.pre_stop_s")
    return {
        "image": f"${{IMAGE:-{service.name}:{image_tag(service)}}}",
        "user": f"{USER_ID}:{GROUP_ID}",
        # Loopback: whoever wants it on the network says so.
        "ports": [f"127.0.0.1:{port}:{port}" for port in (HTTP_PORT, GRPC_PORT)],
        **_HARDENED,
        # Writable by any user, as the one above may be changed.
        "tmpfs": ["/tmp:mode=1777", f"{CACHE_FOLDER}:mode=1777"],  # noqa: S108
        "mem_limit": plan.value("deployment.memory_limit"),
        # A habit and no decision: far more than a service has threads, and an end to a fork bomb.
        "pids_limit": 4096,
        "stop_grace_period": f"{grace_s}s",
        "healthcheck": {
            # The image's own, said again because images in OCI's format lose it.
            "test": ["CMD", "python3", "-m", "nimify.serving.probe"],
            "interval": "10s",
            "timeout": "5s",
            "start_period": f"{plan.value('deployment.startup_s')}s",
            "retries": 3,
        },
        **_cpus(plan),
        **_gpu(plan),
    }


def _cpus(plan: ServicePlan) -> dict[str, Any]:
    limit = plan.value("resources.cpu_limit")
    return {} if limit is None else {"cpus": limit}


def _gpu(plan: ServicePlan) -> dict[str, Any]:
    if plan.value("deployment.family") != "triton":
        return {}
    device = {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    return {"deploy": {"resources": {"reservations": {"devices": [device]}}}}


def _prometheus() -> dict[str, Any]:
    return {
        "image": PROMETHEUS_IMAGE,
        "profiles": ["monitoring"],
        "command": ["--config.file=/etc/prometheus/prometheus.yaml", "--storage.tsdb.path=/prometheus"],
        "ports": ["127.0.0.1:9090:9090"],
        **_HARDENED,
        "volumes": [
            f"./{FOLDER}/prometheus.yaml:/etc/prometheus/prometheus.yaml:ro",
            f"./{RULES_FILE}:/etc/prometheus/rules.yaml:ro",
        ],
        "tmpfs": ["/prometheus:mode=1777"],
    }


def _grafana() -> dict[str, Any]:
    return {
        "image": GRAFANA_IMAGE,
        "profiles": ["monitoring"],
        "environment": {
            "GF_AUTH_ANONYMOUS_ENABLED": "true",
            "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
            "GF_AUTH_DISABLE_LOGIN_FORM": "true",
        },
        "ports": ["127.0.0.1:3000:3000"],
        **_HARDENED,
        "volumes": [
            f"./{FOLDER}/datasources.yaml:/etc/grafana/provisioning/datasources/nimify.yaml:ro",
            f"./{FOLDER}/dashboards.yaml:/etc/grafana/provisioning/dashboards/nimify.yaml:ro",
            f"./{DASHBOARD_FILE}:{_DASHBOARDS}/service.json:ro",
        ],
        "tmpfs": ["/var/lib/grafana:mode=1777", "/var/log/grafana:mode=1777", "/tmp:mode=1777"],  # noqa: S108
    }


def _datasources() -> dict[str, Any]:
    source = {
        "name": "Prometheus",
        "type": "prometheus",
        "access": "proxy",
        "url": "http://prometheus:9090",
        "isDefault": True,
    }
    return {"apiVersion": 1, "datasources": [source]}


def _dashboards() -> dict[str, Any]:
    return {"apiVersion": 1, "providers": [{"name": "nimify", "type": "file", "options": {"path": _DASHBOARDS}}]}
