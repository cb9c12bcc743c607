"""Services in front of daemons that run beside the cluster and not in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tools.cluster.layout import NODE_ADDRESS


def service(
    name: str, namespace: str, ports: Sequence[tuple[str, str, int, int]], *, address: str | None = None
) -> list[dict[str, Any]]:
    """The objects that lead a Service to a daemon on the node's address.

    Args:
        name: Of the Service.
        namespace: Where it is.
        ports: The name of each, its protocol, the Service's port and the daemon's.
        address: The Service's own; otherwise the API server chooses one.
    """
    metadata = {"name": name, "namespace": namespace}
    asked = [{"name": port, "port": outer, "protocol": protocol} for port, protocol, outer, _ in ports]
    served = [{"name": port, "port": inner, "protocol": protocol} for port, protocol, _, inner in ports]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": asked, **({"clusterIP": address} if address else {})},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [NODE_ADDRESS], "conditions": {"ready": True}}],
            "ports": served,
        },
    ]
