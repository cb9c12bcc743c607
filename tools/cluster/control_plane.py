"""The control plane: etcd, the API server with Pod Security admission and RBAC, the controllers and the scheduler."""

from __future__ import annotations

from tools.cluster.daemons import Daemon
from tools.cluster.layout import NODE_ADDRESS, SERVICE_NETWORK, Layout
from tools.cluster.programs import program


def etcd(layout: Layout) -> Daemon:
    """The store."""
    client, peer = (f"http://127.0.0.1:{layout.ports[name]}" for name in ("etcd", "etcd_peer"))
    options = {
        "data-dir": layout.state / "etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
    }
    return Daemon("etcd", ["/usr/bin/etcd", *_options(options)], {})


def api_server(layout: Layout) -> Daemon:
    """The API server."""
    pki = layout.state / "pki"
    options = {
        "etcd-servers": f"http://127.0.0.1:{layout.ports['etcd']}",
        "bind-address": "127.0.0.1",
        # Stands in the endpoints of the Service `kubernetes`, where no address of 127.0.0.0/8 may; nobody asks it.
        "advertise-address": NODE_ADDRESS,
        "secure-port": layout.ports["api"],
        "service-cluster-ip-range": SERVICE_NETWORK,
        "authorization-mode": "Node,RBAC",
        "token-auth-file": pki / "tokens.csv",
        "client-ca-file": pki / "ca.crt",
        "tls-cert-file": pki / "api.crt",
        "tls-private-key-file": pki / "api.key",
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-client-certificate": pki / "api-client.crt",
        "kubelet-client-key": pki / "api-client.key",
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": pki / "accounts.crt",
        "service-account-signing-key-file": pki / "accounts.key",
        "requestheader-client-ca-file": pki / "front-ca.crt",
        "requestheader-allowed-names": "front-proxy",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": pki / "front.crt",
        "proxy-client-key-file": pki / "front.key",
        "enable-aggregator-routing": "true",
    }
    return Daemon("api-server", [program("kube-apiserver"), *_options(options)], {})


def controllers(layout: Layout) -> Daemon:
    """The controllers of Deployments, ReplicaSets, EndpointSlices, autoscalers and the rest."""
    pki = layout.state / "pki"
    options = {
        "kubeconfig": layout.kubeconfig("controllers"),
        "bind-address": "127.0.0.1",
        "secure-port": layout.ports["controllers"],
        "cert-dir": pki,
        "leader-elect": "false",
        "use-service-account-credentials": "true",
        "service-account-private-key-file": pki / "accounts.key",
        "root-ca-file": pki / "ca.crt",
    }
    return Daemon("controllers", [program("kube-controller-manager"), *_options(options)], {})


def scheduler(layout: Layout) -> Daemon:
    """The scheduler."""
    options = {
        "kubeconfig": layout.kubeconfig("scheduler"),
        "bind-address": "127.0.0.1",
        "secure-port": layout.ports["scheduler"],
        "cert-dir": layout.state / "pki",
        "leader-elect": "false",
    }
    return Daemon("scheduler", [program("kube-scheduler"), *_options(options)], {})


def _options(options: dict[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]
