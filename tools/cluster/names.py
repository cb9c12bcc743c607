"""The names of Services, which pods look up: CoreDNS, beside the cluster like what monitors."""

from __future__ import annotations

from typing import Any, Final

from tools.cluster.daemons import Daemon
from tools.cluster.layout import DNS_ADDRESS, DOMAIN, NODE_ADDRESS, Layout
from tools.cluster.programs import program
from tools.cluster.services import service

_PORT: Final = 53
_CONFIG: Final = """\
.:{port} {{
    bind {address}
    ready 127.0.0.1:{ready}
    errors
    kubernetes {domain} in-addr.arpa {{
        kubeconfig {kubeconfig}
    }}
}}
"""


def name_service(layout: Layout) -> Daemon:
    """CoreDNS."""
    file = layout.state / "Corefile"
    text = _CONFIG.format(
        port=layout.ports["dns"],
        address=NODE_ADDRESS,
        ready=layout.ports["dns_ready"],
        domain=DOMAIN,
        kubeconfig=layout.kubeconfig("monitoring"),
    )
    file.write_text(text, encoding="utf-8")
    return Daemon("coredns", [program("coredns"), f"-conf={file}"], {})


def ready_url(layout: Layout) -> str:
    """What answers with 200 as soon as it knows the cluster."""
    return f"http://127.0.0.1:{layout.ports['dns_ready']}/ready"


def objects(layout: Layout) -> list[dict[str, Any]]:
    """What leads pods to it."""
    port = layout.ports["dns"]
    ports = [("dns", "UDP", _PORT, port), ("dns-tcp", "TCP", _PORT, port)]
    return service("kube-dns", "kube-system", ports, address=DNS_ADDRESS)
