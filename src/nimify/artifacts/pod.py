"""What every target that runs pods is told of the service: resources, probes, and how little it may do."""

from __future__ import annotations

from math import ceil
from typing import Any, Final

from nimify.planning.plan import ServicePlan
from nimify.quantities import size_text

HTTP_PORT: Final = 8000
GRPC_PORT: Final = 8001
USER_ID: Final = 1000
GROUP_ID: Final = 2000
"""What NVIDIA's operator runs NIMs as; the image works under any."""
READY_PATH: Final = "/v1/health/ready"
LIVE_PATH: Final = "/v1/health/live"
STARTUP_PERIOD_S: Final = 5
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


def http_probe(path: str, port: str | int, *, period_s: int, timeout_s: int, failures: int) -> dict[str, Any]:
    """A probe over HTTP."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period_s,
        "timeoutSeconds": timeout_s,
        "failureThreshold": failures,
    }


def startup_probe(plan: ServicePlan, port: str | int) -> dict[str, Any]:
    """The probe that gives a replica the time that its model takes to load."""
    failures = ceil(plan.value("deployment.startup_s") / STARTUP_PERIOD_S)
    return http_probe(READY_PATH, port, period_s=STARTUP_PERIOD_S, timeout_s=3, failures=failures)


def readiness_probe(port: str | int) -> dict[str, Any]:
    """The probe that asks for the model."""
    return http_probe(READY_PATH, port, period_s=5, timeout_s=3, failures=3)


def liveness_probe(port: str | int) -> dict[str, Any]:
    """The probe that asks for the process only, so that a busy replica is not ended."""
    return http_probe(LIVE_PATH, port, period_s=10, timeout_s=5, failures=6)


def restricted_container() -> dict[str, Any]:
    """The security context of the container, as Pod Security's `restricted` asks for it, and a read-only root."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
