"""How clients outside the cluster reach the service."""

from __future__ import annotations

from math import ceil
from typing import Final

from nimify.config import DeploymentConfig
from nimify.errors import ConfigError
from nimify.planning.plan import Basis, Decision, asked_or_default

ROUTE_MARGIN_S: Final = 5


def decide_exposure(asked: DeploymentConfig, *, request_timeout_s: float) -> list[Decision]:
    """`deployment.expose.kind` and `deployment.route_timeout_s`.

    Raises:
        ConfigError: A host or a gateway is missing, or is given for nothing.
    """
    expose = asked.expose
    if expose.kind in {"ingress", "gateway"} and expose.host is None:
        raise ConfigError(
            "the name that clients ask for is missing.",
            field="deployment.expose.host",
            remedy="Give it, e.g. digits.example.com.",
        )
    if (expose.kind == "gateway") != (expose.gateway is not None):
        raise ConfigError(
            "names the Gateway to attach to, and belongs to kind: gateway.",
            field="deployment.expose.gateway",
            remedy="Give both, e.g. gateway: gateways/public, or neither.",
        )
    if expose.host is not None and expose.kind in {None, "none"}:
        raise ConfigError(
            "a host is given, but nothing that would answer for it.",
            field="deployment.expose.kind",
            remedy="Ask for ingress or gateway, or leave the host out.",
        )
    timeout = ceil(request_timeout_s) + ROUTE_MARGIN_S
    reason = f"{ROUTE_MARGIN_S} s longer than the service's own deadline, so that clients get its answer."
    return [
        asked_or_default(
            "deployment.expose.kind", expose.kind, "none", "Only the cluster reaches it until you say otherwise."
        ),
        Decision("deployment.route_timeout_s", timeout, reason, Basis.DEFAULT),
    ]
