"""The section of nimify.yaml that concerns where the service runs: only what changes decisions.

Everything else about a cluster stands in the chart's values.yaml, which every release of the chart may override.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from nimify.config.section import Section

_HOST: Final = r"^(\*\.)?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+$"
_GATEWAY: Final = r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_URL: Final = r"^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?$"
_LABEL_KEY: Final = (
    r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*/)?"
    r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
)
_LABEL_VALUE: Final = r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$"

Replicas = Annotated[int, Field(ge=1, le=1000)]
"""A number of replicas."""


class ScalingConfig(Section):
    """How many replicas there are under load."""

    mode: Literal["none", "hpa", "keda"] | None = None
    """`hpa` needs prometheus-adapter in the cluster, `keda` needs KEDA; left out, the number is fixed."""
    min_replicas: Replicas | None = None
    """Replicas without load."""
    max_replicas: Replicas | None = None
    """Most replicas."""
    queue_target: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Waiting requests for each replica at which another one is started."""
    prometheus: Annotated[str, Field(max_length=253, pattern=_URL)] | None = None
    """Where KEDA finds Prometheus, e.g. `http://prometheus-operated.monitoring:9090`."""


class ExposeConfig(Section):
    """How clients outside the cluster reach the service."""

    kind: Literal["none", "ingress", "gateway"] | None = None
    """`gateway` is the Gateway API; left out, only the cluster reaches it."""
    host: Annotated[str, Field(max_length=253, pattern=_HOST)] | None = None
    """The name that clients ask for, e.g. `digits.example.com`."""
    gateway: Annotated[str, Field(pattern=_GATEWAY)] | None = None
    """The Gateway to attach to, as `name` or `namespace/name`."""


class DeploymentConfig(Section):
    """Where and how the service runs in a cluster."""

    family: Literal["cpu", "triton"] | None = None
    """`cpu` is the embedded engine, `triton` NVIDIA Triton on a GPU."""
    replicas: Replicas | None = None
    """Replicas when they are not scaled."""
    scaling: ScalingConfig = ScalingConfig()
    expose: ExposeConfig = ExposeConfig()
    node_selector: Annotated[
        dict[Annotated[str, Field(max_length=317, pattern=_LABEL_KEY)], Annotated[str, Field(pattern=_LABEL_VALUE)]],
        Field(max_length=32),
    ] = Field(default_factory=dict)
    """Labels of the nodes that it may run on."""
    monitoring: bool = False
    """Whether the Prometheus Operator scrapes it, with rules and a dashboard."""
    startup_s: Annotated[int, Field(ge=10, le=86_400)] | None = None
    """Seconds that a replica may take to be ready."""
    pre_stop_s: Annotated[int, Field(ge=1, le=300)] | None = None
    """Seconds between the end of a pod's place in the load balancing and SIGTERM."""
