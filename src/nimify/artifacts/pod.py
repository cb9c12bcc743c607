"""What every target that runs pods is told of the service: resources, probes, and how little it may do."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

from nimify.planning.plan import ServicePlan
from nimify.quantities import size_text
from nimify.serving.paths import LIVE_PATH, READY_PATH

USER_ID: Final = 1000
GROUP_ID: Final = 2000
"""What NVIDIA's operator runs NIMs as; the image works under any."""
# How often is asked is a habit, the same for every model; how long a start may take is for the plan to decide.
READINESS: Final = {"periodSeconds": 5, "timeoutSeconds": 3, "failureThreshold": 3}
LIVENESS: Final = {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6}
_STARTUP_PERIOD_S: Final = 5
_LONGEST: Final = 53


def resource_name(name: str) -> str:
    """A service's name as that of a resource which makes a Service of its own name: that may not start with a digit.

    KServe adds `-predictor`, which must fit into the 63 characters of a label as well.
    """
    return name if name[0].isalpha() else f"n-{name}"[:_LONGEST].rstrip("-")


def container_resources(plan: ServicePlan) -> dict[str, Any]:
    """Requests and limits of the container."""
    limits: dict[str, Any] = {"memory": size_text(plan.value("deployment.memory_limit"))}
    if plan.value("resources.cpu_limit") is not None:
        limits["cpu"] = cpu_text(plan.value("resources.cpu_limit"))
    if plan.value("deployment.family") == "triton":
        limits["nvidia.com/gpu"] = 1
    requests = {"cpu": cpu_text(plan.value("resources.cpu")), "memory": size_text(plan.value("deployment.memory"))}
    return {"requests": requests, "limits": limits}


def cpu_text(cpus: float) -> str:
    """CPUs as Kubernetes writes them."""
    return f"{cpus:.0f}" if cpus == int(cpus) else f"{max(round(cpus * 1000), 1)}m"


def startup_pace(startup_s: int) -> dict[str, int]:
    """How often, and how many times, a replica is asked that may take so long to be ready."""
    failures = ceil(startup_s / _STARTUP_PERIOD_S)
    return {"periodSeconds": _STARTUP_PERIOD_S, "timeoutSeconds": 3, "failureThreshold": failures}


def startup_probe(plan: ServicePlan, port: str | int) -> dict[str, Any]:
    """The probe that gives a replica the time that its model takes to load."""
    return _http_probe(READY_PATH, port, startup_pace(plan.value("deployment.startup_s")))


def readiness_probe(port: str | int) -> dict[str, Any]:
    """The probe that asks for the model."""
    return _http_probe(READY_PATH, port, READINESS)


def liveness_probe(port: str | int) -> dict[str, Any]:
    """The probe that asks for the process only, so that a busy replica is not ended."""
    return _http_probe(LIVE_PATH, port, LIVENESS)


def _http_probe(path: str, port: str | int, pace: Mapping[str, int]) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": port}, **pace}


def restricted_container() -> dict[str, Any]:
    """The security context of the container, as Pod Security's `restricted` asks for it, and a read-only root."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
