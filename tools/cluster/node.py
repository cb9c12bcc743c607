"""The node: an image registry, containerd with a network plugin, kubelet and kube-proxy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tools.cluster.daemons import Daemon
from tools.cluster.layout import (
    CGROUP,
    DNS_ADDRESS,
    DOMAIN,
    NODE,
    NODE_ADDRESS,
    PAUSE_IMAGE,
    POD_NETWORK,
    Layout,
)
from tools.cluster.machine import CNI_NETWORK
from tools.cluster.programs import program

_CONTAINERD = """\
version = 2
root = "{state}/containerd/data"
state = "{state}/containerd/run"
disabled_plugins = ["io.containerd.internal.v1.tracing"]

[grpc]
  address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # A process without CAP_SYS_RESOURCE may not lower anybody's.
  restrict_oom_score_adj = true
  # So that they go with everything else that is mounted below the state.
  netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{state}/cni"

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "{state}/registries"
"""
_REGISTRY = """\
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {state}/registry}}
  delete: {{enabled: true}}
http: {{addr: "{registry}"}}
"""


def registry(layout: Layout) -> Daemon:
    """The image registry, for whoever builds and for the node."""
    file = layout.state / "registry.yaml"
    file.write_text(_REGISTRY.format(state=layout.state, registry=layout.registry), encoding="utf-8")
    return Daemon("registry", ["/usr/bin/docker-registry", "serve", str(file)], {})


def containerd(layout: Layout) -> Daemon:
    """The container runtime."""
    file = layout.state / "containerd.toml"
    text = _CONTAINERD.format(state=layout.state, socket=layout.containerd, pause=PAUSE_IMAGE)
    file.write_text(text, encoding="utf-8")
    hosts = layout.state / "registries" / layout.registry / "hosts.toml"
    hosts.parent.mkdir(parents=True)
    hosts.write_text(f'server = "http://{layout.registry}"\n', encoding="utf-8")
    _write_network(layout.state / "cni" / "10-nimify.conflist", layout)
    return Daemon("containerd", ["/usr/bin/containerd", f"--config={file}"], {})


def kubelet(layout: Layout) -> Daemon:
    """What runs the pods."""
    pki = layout.state / "pki"
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "port": layout.ports["kubelet"],
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": layout.ports["kubelet_health"],
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet.key"),
        "containerRuntimeEndpoint": f"unix://{layout.containerd}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": False,
        "resolvConf": "",
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": DOMAIN,
        "podLogsDir": str(layout.state / "pod-logs"),
        "volumePluginDir": str(layout.state / "kubelet" / "plugins"),
        # This machine's disk is others' as well: only a full one is a reason to evict.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    }
    options = {
        "config": _write(layout.state / "kubelet.json", config),
        "kubeconfig": layout.kubeconfig("kubelet"),
        "root-dir": layout.state / "kubelet",
        "cert-dir": pki,
        "hostname-override": NODE,
        "node-ip": NODE_ADDRESS,
    }
    return Daemon("kubelet", [program("kubelet"), *(f"--{name}={value}" for name, value in options.items())], {})


def kube_proxy(layout: Layout) -> Daemon:
    """What leads the addresses of Services to pods."""
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(layout.kubeconfig("proxy"))},
        "hostnameOverride": NODE,
        "bindAddress": NODE_ADDRESS,
        "healthzBindAddress": f"127.0.0.1:{layout.ports['proxy_health']}",
        "metricsBindAddress": f"127.0.0.1:{layout.ports['proxy_metrics']}",
        "mode": "iptables",
        "clusterCIDR": POD_NETWORK,
        "nodePortAddresses": [f"{NODE_ADDRESS}/32"],
        "iptables": {"localhostNodePorts": False},
        # Leaves the machine's own limits as they are.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    file = _write(layout.state / "kube-proxy.json", config)
    return Daemon("kube-proxy", [program("kube-proxy"), f"--config={file}"], {})


def _write_network(path: Path, layout: Layout) -> None:
    """Point-to-point links: a bridge would need br_netfilter, which not every kernel has."""
    addresses = {"type": "host-local", "subnet": POD_NETWORK, "dataDir": str(layout.state / "addresses")}
    plugins = [{"type": "ptp", "ipMasq": False, "ipam": {**addresses, "routes": [{"dst": "0.0.0.0/0"}]}}]
    path.parent.mkdir()
    _write(path, {"cniVersion": "0.4.0", "name": CNI_NETWORK, "plugins": plugins})


def _write(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return path
