"""What monitors: the Prometheus Operator, Prometheus, and the two APIs of metrics that autoscalers ask.

They run beside the cluster and not in it, because there are no images of them here. The operator is given a Prometheus
without pods: it writes the configuration of one all the same, and `prometheus_config` hands that to the one that runs.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tools.cluster.daemons import Daemon
from tools.cluster.layout import MONITORING, NODE_ADDRESS, Layout
from tools.cluster.programs import program, prometheus_version
from tools.cluster.services import service

INSTANCE: Final = "nimify"
KINDS: Final = ("prometheuses", "servicemonitors", "podmonitors", "probes", "prometheusrules")
"""What the operator must find; the rest of its definitions are large, and nobody here writes such objects."""
_ROOT: Final = Path(__file__).parents[2]
_SERVICE_PORT: Final = 443
_APIS: Final = {
    "metrics": "metrics.k8s.io/v1beta1",
    "custom-metrics": "custom.metrics.k8s.io/v1beta1",
}
"""What is asked of whom; the names are those of their Services, certificates and daemons."""


def operator(layout: Layout) -> Daemon:
    """The Prometheus Operator."""
    address = f"127.0.0.1:{layout.ports['operator']}"
    command = [program("prometheus-operator"), f"--web.listen-address={address}", "--kubelet-endpoints=false"]
    return Daemon("prometheus-operator", command, {"KUBECONFIG": str(layout.kubeconfig("monitoring"))})


def prometheus(layout: Layout) -> Daemon:
    """Prometheus, which scrapes nothing until it is given a configuration."""
    file = layout.state / "prometheus.yaml"
    file.write_text("{}\n", encoding="utf-8")
    options = {
        "config.file": file,
        "log.level": "warn",
        "storage.tsdb.path": layout.state / "prometheus",
        "web.listen-address": f"127.0.0.1:{layout.ports['prometheus']}",
    }
    command = [program("prometheus"), "--web.enable-lifecycle", *_options(options)]
    return Daemon("prometheus", command, {})


def prometheus_config(layout: Layout) -> Daemon:
    """What hands the operator's configuration to Prometheus."""
    command = [sys.executable, "-m", "tools.cluster.prometheus_config", str(layout.state), json.dumps(layout.ports)]
    return Daemon("prometheus-config", command, {"PYTHONPATH": str(_ROOT)})


def metrics_server(layout: Layout) -> Daemon:
    """The API of the CPU and memory of pods."""
    options = {
        "kubeconfig": layout.kubeconfig("monitoring"),
        "kubelet-certificate-authority": layout.state / "pki" / "ca.crt",
        "kubelet-preferred-address-types": "InternalIP",
        "kubelet-use-node-status-port": "true",
        "metric-resolution": "15s",
    }
    return _api_daemon("metrics", [program("metrics-server"), *_options(options)], layout)


def prometheus_adapter(layout: Layout, rules: str) -> Daemon:
    """The API of custom metrics, by rules in the adapter's own form."""
    file = layout.state / "adapter.yaml"
    file.write_text(rules, encoding="utf-8")
    options = {
        "config": file,
        "lister-kubeconfig": layout.kubeconfig("monitoring"),
        "prometheus-url": layout.prometheus,
        # Which series there are is asked for anew this often; the usual ten minutes are for a quiet cluster.
        "metrics-relist-interval": "10s",
        "metrics-max-age": "5m",
    }
    return _api_daemon("custom-metrics", [program("prometheus-adapter"), *_options(options)], layout)


def objects(layout: Layout) -> list[dict[str, Any]]:
    """The namespace, the Prometheus that the operator configures, and the API of metrics."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": MONITORING}},
        _instance(layout),
        *api_objects("metrics", layout),
    ]


def api_objects(name: str, layout: Layout) -> list[dict[str, Any]]:
    """What lets the API server pass on requests to a daemon of ours."""
    group, version = _APIS[name].split("/")
    authority = (layout.state / "pki" / "ca.crt").read_bytes()
    port = layout.ports[name.replace("-", "_")]
    return [
        *service(name, MONITORING, [("https", "TCP", _SERVICE_PORT, port)]),
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{version}.{group}"},
            "spec": {
                "group": group,
                "version": version,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "caBundle": base64.b64encode(authority).decode("ascii"),
                "service": {"name": name, "namespace": MONITORING, "port": _SERVICE_PORT},
            },
        },
    ]


def api_service(name: str) -> str:
    """The name of the APIService of a daemon."""
    group, version = _APIS[name].split("/")
    return f"{version}.{group}"


def _api_daemon(name: str, command: list[str], layout: Layout) -> Daemon:
    pki, kubeconfig = layout.state / "pki", layout.kubeconfig("monitoring")
    options = {
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": NODE_ADDRESS,
        "secure-port": layout.ports[name.replace("-", "_")],
        "tls-cert-file": pki / f"{name}.crt",
        "tls-private-key-file": pki / f"{name}.key",
    }
    return Daemon(name, [*command, *_options(options)], {})


def _options(options: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]


def _instance(layout: Layout) -> dict[str, Any]:
    """A Prometheus that takes every ServiceMonitor, PodMonitor and rule of every namespace."""
    everything: dict[str, Any] = {}
    kinds = ("serviceMonitor", "podMonitor", "rule")
    pki = layout.state / "pki"
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "Prometheus",
        "metadata": {"name": INSTANCE, "namespace": MONITORING},
        "spec": {
            "replicas": 0,
            "version": f"v{prometheus_version()}",
            **{f"{kind}Selector": everything for kind in kinds},
            **{f"{kind}NamespaceSelector": everything for kind in kinds},
            "apiserverConfig": {
                "host": layout.api,
                "bearerTokenFile": str(pki / "monitoring.token"),
                "tlsConfig": {"caFile": str(pki / "ca.crt")},
            },
        },
    }
