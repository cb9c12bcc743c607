"""values.yaml: what was decided for this model, then what a cluster wants, which is the same for all.

The first half is built as data, section by section, and dumped with the reasons of the plan above each. The second
half is a file, cluster_values.yaml.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from math import ceil
from typing import Any, Final

from nimify.artifacts.pod import LIVENESS, READINESS, cpu_text, startup_pace
from nimify.artifacts.yaml_file import yaml_text
from nimify.config import DeploymentConfig, ExposeConfig
from nimify.errors import one_line
from nimify.planning.plan import Decision, ServicePlan
from nimify.planning.pod import LOG_BYTES, SHM_BYTES
from nimify.planning.probes import MARGIN_S
from nimify.quantities import size_text

_WIDTH: Final = 118
_HEADER: Final = """\
# Written by nimify from nimify.yaml and plan.json. To change a value for good, change nimify.yaml and run
# `nimify create`; to change it for one cluster, give Helm a values file of your own.

# ---- What was decided for this model, and why ------------------------------------------------------------------------
"""


@dataclass(frozen=True, slots=True)
class Section:
    """One key at the top of values.yaml.

    Attributes:
        key: Its name.
        data: What stands under it.
        comment: Whole sentences for whoever reads it.
    """

    key: str
    data: Any
    comment: str

    def text(self) -> str:
        """The section as YAML, its comment above it."""
        lines = textwrap.wrap(one_line(self.comment), _WIDTH, break_on_hyphens=False)
        return "".join(f"# {line}\n" for line in lines) + yaml_text({self.key: self.data})


def values_text(plan: ServicePlan, asked: DeploymentConfig) -> str:
    """The text of values.yaml."""
    cluster = (files("nimify.artifacts.chart") / "cluster_values.yaml").read_text(encoding="utf-8")
    return _HEADER + "\n" + "\n".join(section.text() for section in decided_sections(plan, asked)) + cluster


def decided_sections(plan: ServicePlan, asked: DeploymentConfig) -> list[Section]:
    """The half of values.yaml that follows from the plan."""
    known = {decision.key: decision for decision in plan.decisions}
    family: str = known["deployment.family"].value
    return [
        Section("family", family, f"cpu or triton. {known['deployment.family'].reason}"),
        Section("model", _model(plan), "What is served; another digest is another revision of the Deployment."),
        Section("replicaCount", known["deployment.replicas"].value, known["deployment.replicas"].reason),
        _autoscaling(known, asked),
        _probes(known),
        _shutdown(known),
        _resources(known),
        _scratch(known),
        _gpu(known, family),
        Section("nodeSelector", dict(asked.node_selector), "Nodes that it may run on, by their labels."),
        _ingress(asked.expose),
        _gateway(known, asked.expose),
        _monitoring(asked),
    ]


def asked_values(asked: DeploymentConfig) -> dict[str, dict[tuple[str, str], Any]]:
    """The values that settings go into as they are, without a decision, by the name of the setting.

    Each value stands under its section and its key there.
    """
    expose = asked.expose
    parents = [_parent(expose.gateway)] if expose.kind == "gateway" and expose.gateway else []
    return {
        "deployment.scaling.prometheus": {("autoscaling", "prometheusAddress"): asked.scaling.prometheus or ""},
        "deployment.expose.host": {
            (kind, "hosts"): [expose.host] if expose.kind == kind else [] for kind in ("ingress", "gateway")
        },
        "deployment.expose.gateway": {("gateway", "parentRefs"): parents},
        "deployment.monitoring": {("monitoring", "rules"): asked.monitoring},
    }


def _model(plan: ServicePlan) -> dict[str, str]:
    service = plan.service
    return {"name": service.name, "version": service.version, "digest": service.model_digest}


def _autoscaling(known: Mapping[str, Decision], asked: DeploymentConfig) -> Section:
    target = known["deployment.scaling.queue_target"]
    data = {
        "mode": known["deployment.scaling.mode"].value,
        "minReplicas": known["deployment.scaling.min_replicas"].value,
        "maxReplicas": known["deployment.scaling.max_replicas"].value,
        "queueTarget": target.value,
        "cpuUtilization": 0,
        "gpuUtilization": 0,
        "tolerance": "",
        "adapterRules": True,
        "prometheusAddress": asked.scaling.prometheus or "",
        "behavior": {"scaleUpWindowSeconds": 0, "scaleDownWindowSeconds": 300},
    }
    comment = (
        f"mode: none, hpa or keda. queueTarget ({target.basis}) is the number of waiting requests for each replica. "
        f"{target.reason} cpuUtilization and gpuUtilization are percentages, and off at 0; gpuUtilization comes from "
        "DCGM. tolerance, e.g. 0.05, needs Kubernetes 1.35."
    )
    return Section("autoscaling", data, comment)


def _probes(known: Mapping[str, Decision]) -> Section:
    startup = known["deployment.startup_s"]
    data = {
        "startup": startup_pace(startup.value),
        "readiness": READINESS,
        "liveness": LIVENESS,
    }
    comment = (
        f"A replica may take {startup.value} s to be ready ({startup.basis}). {startup.reason} Readiness asks for the "
        "model, liveness only for the process, so that a busy replica is not ended."
    )
    return Section("probes", data, comment)


def _shutdown(known: Mapping[str, Decision]) -> Section:
    data = {
        "preStopSeconds": known["deployment.pre_stop_s"].value,
        "drainSeconds": ceil(known["limits.drain_s"].value),
        "requestSeconds": ceil(known["limits.shutdown_grace_s"].value),
        "marginSeconds": MARGIN_S,
    }
    comment = (
        f"Their sum is the termination grace: {known['deployment.termination_grace_s'].reason} drainSeconds and "
        "requestSeconds follow limits.drain_s and limits.shutdown_grace_s in nimify.yaml; change them there."
    )
    return Section("shutdown", data, comment)


def _resources(known: Mapping[str, Decision]) -> Section:
    memory, cpu = known["deployment.memory"], known["resources.cpu"]
    disk = size_text(known["deployment.tmp"].value + known["deployment.cache"].value + LOG_BYTES)
    limits: dict[str, Any] = {
        "memory": size_text(known["deployment.memory_limit"].value),
        "ephemeral-storage": disk,
    }
    if (cpu_limit := known["resources.cpu_limit"].value) is not None:
        limits = {"cpu": cpu_text(cpu_limit)} | limits
    requests = {"cpu": cpu_text(cpu.value), "memory": size_text(memory.value), "ephemeral-storage": disk}
    comment = (
        f"CPU ({cpu.basis}): {cpu.reason} CPU limit: {known['resources.cpu_limit'].reason} "
        f"Memory: {known['resources.memory'].reason} {memory.reason} GPUs are asked for under gpu."
    )
    return Section("resources", {"requests": requests, "limits": limits}, comment)


def _scratch(known: Mapping[str, Decision]) -> Section:
    tmp, cache = known["deployment.tmp"], known["deployment.cache"]
    data = {"tmp": size_text(tmp.value), "cache": size_text(cache.value), "shm": size_text(SHM_BYTES)}
    comment = (
        f"The only places to write to. /tmp: {tmp.reason} Cache: {cache.reason} /dev/shm is there for Triton only."
    )
    return Section("scratch", data, comment)


def _gpu(known: Mapping[str, Decision], family: str) -> Section:
    data = {
        "mode": "devicePlugin" if family == "triton" else "none",
        "count": 1,
        "resourceName": "nvidia.com/gpu",
        "deviceClassName": "gpu.nvidia.com",
        "runtimeClassName": "",
    }
    gpu = known["resources.gpu"]
    comment = (
        "mode: none, devicePlugin, or dra (Kubernetes 1.34 or newer); triton needs one, and the embedded engine uses "
        f"none. The plan's GPU is {gpu.value}: {gpu.reason} Name such nodes in nodeSelector."
    )
    return Section("gpu", data, comment)


def _ingress(expose: ExposeConfig) -> Section:
    enabled = expose.kind == "ingress"
    data = {
        "enabled": enabled,
        "className": "",
        "hosts": [expose.host] if enabled else [],
        "tlsSecret": "",
        "annotations": {},
    }
    return Section("ingress", data, "For HTTP; controllers differ on gRPC, so that goes through a gateway.")


def _gateway(known: Mapping[str, Decision], expose: ExposeConfig) -> Section:
    enabled = expose.kind == "gateway"
    timeout = known["deployment.route_timeout_s"]
    data = {
        "enabled": enabled,
        "parentRefs": [_parent(expose.gateway)] if enabled and expose.gateway else [],
        "hosts": [expose.host] if enabled else [],
        "grpc": True,
        "timeoutSeconds": timeout.value,
        "backendTLS": {"enabled": False, "hostname": "", "caConfigMap": ""},
    }
    return Section("gateway", data, f"Gateway API: an HTTPRoute and a GRPCRoute. timeoutSeconds: {timeout.reason}")


def _parent(gateway: str) -> dict[str, str]:
    namespace, _, name = gateway.rpartition("/")
    return {"name": name} | ({"namespace": namespace} if namespace else {})


def _monitoring(asked: DeploymentConfig) -> Section:
    data: dict[str, Any] = {
        "scrape": "serviceMonitor" if asked.monitoring else "none",
        "interval": "15s",
        "scrapeTimeout": "10s",
        "labels": {},
        "rules": asked.monitoring,
        "dashboard": asked.monitoring,
        "apiKeyEntry": "",
        "tlsCaConfigMap": "",
    }
    comment = (
        "scrape: none, serviceMonitor or podMonitor; with rules it needs the Prometheus Operator. labels are those "
        "that your Prometheus selects by, e.g. release: kube-prometheus-stack. With API keys, apiKeyEntry is the entry "
        "of their Secret that Prometheus uses."
    )
    return Section("monitoring", data, comment)
