"""What a cluster lacks for a custom resource, found before anything is changed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.pod import resource_name
from nimify.artifacts.yaml_file import yaml_text
from nimify.findings import Finding, Severity
from nimify.programs import ProgramFailed
from nimify.targets.custom_resource.document import filled, is_there, revision_of
from nimify.targets.custom_resource.history import RESOURCE
from nimify.targets.custom_resource.kind import Document, ResourceKind
from nimify.targets.handover import hand_over
from nimify.targets.kubernetes.cluster import Cluster
from nimify.targets.target import Order

_LEASES: Final = "leases.coordination.k8s.io"
_MONITORS: Final = "monitoring.coreos.com/v1"


def machine_findings(cluster: Cluster, kind: ResourceKind) -> list[Finding]:
    """What this machine lacks, or whether the cluster can be reached and knows the operator."""
    if cluster.program.path is None:
        message = "There is no kubectl command on this machine."
        remedy = "Install kubectl, or apply by hand the file that a dry run writes: kubectl apply --server-side -f FILE"
        return [Finding(f"{kind.target}.kubectl", Severity.ERROR, message, remedy)]
    try:
        cluster.version()
        known = kind.kind in cluster.kinds(kind.api_version)
    except ProgramFailed as error:
        message = f"The cluster cannot be reached: {error}."
        remedy = "Point KUBECONFIG to it, and see whether `kubectl version` answers."
        return [Finding(f"{kind.target}.unreachable", Severity.ERROR, message, remedy)]
    if not known:
        message = f"The cluster does not know {kind.kind} of {kind.api_version}."
        return [Finding(f"{kind.target}.unknown-kind", Severity.ERROR, message, f"Install {kind.operator} in it.")]
    return []


def order_findings(kind: ResourceKind, order: Order) -> Iterator[Finding]:
    """What the order lacks."""
    if order.bundle is not None and not is_there(order.bundle, kind):
        message = f"The bundle has no {kind.file}."
        remedy = f"Ask for it: nimify create MODEL --with {kind.extra}"
        yield Finding(f"{kind.target}.no-file", Severity.ERROR, message, remedy)
    if not order.image:
        message = f"The {kind.target} target needs a container image in a registry."
        remedy = "Name it with --image; nimify build --push makes one."
        yield Finding(f"{kind.target}.no-image", Severity.ERROR, message, remedy)


def permission_findings(cluster: Cluster, kind: ResourceKind) -> Iterator[Finding]:
    """One finding for all that is not allowed."""
    asked = [
        *((verb, kind.resource) for verb in ("create", "patch", "delete")),
        *(("create", resource) for resource in (RESOURCE, _LEASES, "pods/portforward")),
        ("list", "pods"),
        ("get", "deployments.apps"),
    ]
    with ThreadPoolExecutor(max_workers=len(asked)) as pool:
        allowed = list(pool.map(lambda pair: cluster.may(*pair), asked))
    refused = [f"{verb} {resource}" for (verb, resource), may in zip(asked, allowed, strict=True) if not may]
    if refused:
        message = f"You may not, in this namespace: {', '.join(refused)}."
        remedy = "Ask an administrator for a Role with these permissions."
        yield Finding(f"{kind.target}.permissions", Severity.ERROR, message, remedy)


def monitor_findings(cluster: Cluster, kind: ResourceKind, document: Document) -> Iterator[Finding]:
    """Whether somebody is there to carry out the part about metrics."""
    if kind.monitored(document) and "ServiceMonitor" not in cluster.kinds(_MONITORS):
        message = "The cluster has no Prometheus Operator, and the resource asks for a ServiceMonitor."
        remedy = "Install it, or leave that part out with --set monitor=off."
        yield Finding(f"{kind.target}.monitor", Severity.ERROR, message, remedy)


def written(kind: ResourceKind, order: Order, bundle: Bundle) -> tuple[Document, str]:
    """The resource as it would be the first time, and what says where its file is."""
    document = filled(bundle, kind, order, 1)
    content = yaml_text(document).encode()
    folder = hand_over(kind.target, order.reference.name, {kind.file: content})
    return document, f"the resource is in {folder / kind.file}; by hand: kubectl apply --server-side -f that file"


def changes(cluster: Cluster, kind: ResourceKind, order: Order, bundle: Bundle) -> Iterator[str]:
    """What applying the bundle's resource would change, as a diff of what the API server would make of it."""
    live = cluster.get(kind.resource, resource_name(order.reference.name))
    document = filled(bundle, kind, order, 1 if live is None else revision_of(live))
    would_be = cluster.apply(document, dry_run=True)
    before = [] if live is None else yaml_text(live["spec"]).splitlines()
    yield from difflib.unified_diff(before, yaml_text(would_be["spec"]).splitlines(), "live", "next", lineterm="", n=2)
