"""Where the cluster's files lie and which addresses it uses."""

from __future__ import annotations

import random
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STATE: Final = Path("/var/tmp/nimify-cluster")  # noqa: S108 - root's, mode 0700; a socket's path may have 107 characters
NODE: Final = "nimify-node"
LINK: Final = "nimify-node0"
NODE_ADDRESS: Final = "10.250.0.1"
POD_NETWORK: Final = "10.251.0.0/24"
SERVICE_NETWORK: Final = "10.252.0.0/24"
DNS_ADDRESS: Final = "10.252.0.10"
"""Where pods ask for the addresses of names."""
DOMAIN: Final = "cluster.local"
CGROUP: Final = "nimify-cluster"
"""Pods live below a group of this name; what runs there is ours."""
MONITORING: Final = "monitoring"
"""The namespace of what monitors; charts of bundles let in those who scrape from there."""
PAUSE_IMAGE: Final = "localhost/nimify-pause:1"
_SERVERS: Final = range(20_000, 30_000)
"""Below what Linux gives to clients, and below the ports of nodes."""
_PORTS: Final = (
    "etcd",
    "etcd_peer",
    "api",
    "controllers",
    "scheduler",
    "kubelet",
    "kubelet_health",
    "proxy_health",
    "proxy_metrics",
    "registry",
    "prometheus",
    "operator",
    "metrics",
    "custom_metrics",
    "dns",
    "dns_ready",
)


@dataclass(frozen=True, slots=True)
class Layout:
    """The files and ports of one cluster.

    Attributes:
        state: The folder that holds everything.
        ports: By what listens there.
    """

    state: Path
    ports: dict[str, int]

    @property
    def api(self) -> str:
        """The URL of the API server."""
        return f"https://127.0.0.1:{self.ports['api']}"

    @property
    def registry(self) -> str:
        """Host and port of the image registry."""
        return f"127.0.0.1:{self.ports['registry']}"

    @property
    def prometheus(self) -> str:
        """The URL of Prometheus."""
        return f"http://127.0.0.1:{self.ports['prometheus']}"

    @property
    def containerd(self) -> Path:
        """The socket of containerd."""
        return self.state / "containerd.sock"

    def kubeconfig(self, user: str) -> Path:
        """The kubeconfig file of a user."""
        return self.state / f"{user}.kubeconfig"


def new_layout() -> Layout:
    """A layout with ports that are free now, and that the kernel gives to nobody meanwhile.

    While a server is started again its clients go on trying. Were its port one of those that the kernel gives to
    clients, one of them would some day get it, and the server could not listen.
    """
    sockets: list[socket.socket] = []
    try:
        for port in random.sample(_SERVERS, len(_SERVERS)):
            one = socket.socket()
            sockets.append(one)
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                sockets.pop().close()
            if len(sockets) == len(_PORTS):
                break
        return Layout(STATE, {name: one.getsockname()[1] for name, one in zip(_PORTS, sockets, strict=True)})
    finally:
        for one in sockets:
            one.close()
