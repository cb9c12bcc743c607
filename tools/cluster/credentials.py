"""Who is who in the cluster: a certificate authority of its own, a token for each user, and their kubeconfig files."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Final

import trustme
from tools.cluster.layout import MONITORING, NODE, NODE_ADDRESS, Layout

USERS: Final = {
    "admin": ("admin", "system:masters"),
    "controllers": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    # For what stands in for pods of an administrator's: the operator, Prometheus, the metrics APIs, CoreDNS.
    "monitoring": ("monitoring", "system:masters"),
    # May do nothing until somebody binds a Role to it: whom the tests deploy as.
    "deployer": ("deployer", ""),
}
"""The kubeconfig files: the name of the user in each, and its group."""


def write_credentials(layout: Layout) -> None:
    """Write keys, certificates, tokens and kubeconfig files."""
    folder = layout.state / "pki"
    folder.mkdir(mode=0o700)
    authority = trustme.CA(organization_name="nimify test cluster")
    authority.cert_pem.write_to_path(folder / "ca.crt")
    first_service = "10.252.0.1"
    names = ("127.0.0.1", "localhost", "kubernetes.default.svc", first_service, NODE_ADDRESS)
    _write(folder / "api", authority.issue_cert(*names))
    _write(folder / "kubelet", authority.issue_cert(NODE_ADDRESS, NODE))
    # What the API server shows to kubelet.
    _write(folder / "api-client", authority.issue_cert("api", common_name="api", organization_name="system:masters"))
    _write(folder / "accounts", authority.issue_cert("accounts"))
    # What the metrics APIs show to the API server.
    for name in ("metrics", "custom-metrics"):
        _write(folder / name, authority.issue_cert(f"{name}.{MONITORING}.svc"))
    front = trustme.CA(organization_name="nimify test cluster's aggregator")
    front.cert_pem.write_to_path(folder / "front-ca.crt")
    _write(folder / "front", front.issue_cert("front-proxy", common_name="front-proxy"))
    tokens = {name: secrets.token_urlsafe(24) for name in USERS}
    lines = [f'{tokens[name]},{user},{name},"{group}"\n' for name, (user, group) in USERS.items()]
    (folder / "tokens.csv").write_text("".join(lines), encoding="utf-8")
    (folder / "monitoring.token").write_text(tokens["monitoring"], encoding="utf-8")
    for name, token in tokens.items():
        _write_kubeconfig(layout.kubeconfig(name), layout, token)


def _write(path: Path, issued: trustme.LeafCert) -> None:
    issued.private_key_pem.write_to_path(path.with_suffix(".key"))
    issued.cert_chain_pems[0].write_to_path(path.with_suffix(".crt"))


def _write_kubeconfig(path: Path, layout: Layout, token: str) -> None:
    """JSON is YAML, too."""
    cluster = {"server": layout.api, "certificate-authority": str(layout.state / "pki" / "ca.crt")}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "nimify", "cluster": cluster}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "nimify", "context": {"cluster": "nimify", "user": "user"}}],
        "current-context": "nimify",
    }
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    path.chmod(0o600)
