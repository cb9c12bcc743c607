"""What a cluster lacks for a deployment, found before anything is changed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from nimify.config import parse_yaml
from nimify.errors import ConfigError
from nimify.findings import Finding, Severity
from nimify.programs import Program, ProgramFailed
from nimify.targets.kubernetes.cluster import Cluster
from nimify.targets.kubernetes.release import Release

ROLE_FILE: Final = Path(__file__).with_name("deployer.yaml")
_OLDEST_HELM: Final = 4
_OLDEST_KUBERNETES: Final = (1, 29)
_AT_ONCE: Final = 8
_OPTIONAL: Final = frozenset(
    {"external-secrets.io", "gateway.networking.k8s.io", "keda.sh", "monitoring.coreos.com", "resource.k8s.io"}
)
"""API groups that the chart writes to only where its values ask for it."""
_VERSION: Final = re.compile(r"v?(?P<major>\d+)\.(?P<minor>\d+)")


def machine_findings(kubectl: Program, helm: Release) -> list[Finding]:
    """What this machine lacks."""
    findings = []
    if helm.program.path is None:
        message = "There is no helm command on this machine."
        findings.append(Finding("kubernetes.helm", Severity.ERROR, message, "Install Helm 4."))
    else:
        findings += _helm_findings(helm)
    if kubectl.path is None:
        message = "There is no kubectl command on this machine."
        findings.append(Finding("kubernetes.kubectl", Severity.ERROR, message, "Install kubectl."))
    return findings


def cluster_findings(cluster: Cluster) -> list[Finding]:
    """Whether the cluster can be reached, is new enough, and lets us do what we must."""
    try:
        version = _VERSION.match(cluster.version())
    except ProgramFailed as error:
        message = f"The cluster cannot be reached: {error}."
        remedy = "Point KUBECONFIG to it, and see whether `kubectl version` answers."
        return [Finding("kubernetes.unreachable", Severity.ERROR, message, remedy)]
    findings = []
    if version is not None and (int(version["major"]), int(version["minor"])) < _OLDEST_KUBERNETES:
        message = f"The cluster runs Kubernetes {version[0]}; the chart is made for 1.29 and newer."
        findings.append(Finding("kubernetes.version", Severity.ERROR, message, "Use a newer cluster."))
    return [
        *findings,
        *_permission_findings(cluster, [asked for asked in permissions() if _group(asked[1]) not in _OPTIONAL]),
    ]


def kind_findings(cluster: Cluster, manifests: str) -> Iterator[Finding]:
    """The kinds of the manifests that the cluster does not know, such as those of operators that are not installed.

    And what we may not do with those that it knows.
    """
    known: dict[str, set[str]] = {}
    for api_version, kind in sorted(kinds_of(manifests)):
        if api_version not in known:
            known[api_version] = cluster.kinds(api_version)
        if kind not in known[api_version]:
            message = f"The cluster does not know {kind} of {api_version}."
            remedy = "Install the operator that brings it, or turn that part of the chart off with --set."
            yield Finding("kubernetes.unknown-kind", Severity.ERROR, message, remedy)
    used = {api_version.partition("/")[0] for api_version, kinds in known.items() if kinds} & _OPTIONAL
    wanted = [(verb, resource) for verb, resource in permissions() if _group(resource) in used]
    yield from _permission_findings(cluster, wanted)


def kinds_of(manifests: str) -> set[tuple[str, str]]:
    """The API version and kind of each document."""
    found = set()
    for document in re.split(r"^---.*$", manifests, flags=re.MULTILINE):
        api_version = re.search(r"^apiVersion:\s*['\"]?([A-Za-z0-9./-]+)", document, flags=re.MULTILINE)
        kind = re.search(r"^kind:\s*['\"]?([A-Za-z0-9]+)", document, flags=re.MULTILINE)
        if api_version and kind:
            found.add((api_version[1], kind[1]))
    return found


def changes_between(live: str, next_one: str) -> list[str]:
    """A unified diff of two sets of manifests; empty when they are the same."""
    return list(
        difflib.unified_diff(live.strip().splitlines(), next_one.strip().splitlines(), "live", "next", lineterm="", n=2)
    )


def permissions() -> list[tuple[str, str]]:
    """The verbs and resources of the deployer's Role, e.g. `("create", "deployments.apps")`."""
    try:
        role: Any = parse_yaml(ROLE_FILE.read_text(encoding="utf-8"), source=ROLE_FILE.name)
    except ConfigError as error:
        raise ValueError(f"{ROLE_FILE} is damaged") from error
    return [
        (verb, f"{resource}.{group}" if group else resource)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def _group(resource: str) -> str:
    """The API group of a resource, e.g. `apps` of `deployments.apps`; empty for the oldest one."""
    return resource.partition(".")[2]


def _telling(wanted: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """One verb for each resource: whoever may create may do the rest, and asking for all would take too long."""
    verbs: dict[str, str] = {}
    for verb, resource in wanted:
        if verb == "create" or resource not in verbs:
            verbs[resource] = verb
    return [(verb, resource) for resource, verb in verbs.items()]


def _helm_findings(helm: Release) -> Iterator[Finding]:
    try:
        found = _VERSION.match(helm.version())
    except ProgramFailed as error:
        yield Finding("kubernetes.helm", Severity.ERROR, f"Helm cannot be run: {error}.", "Install Helm 4.")
        return
    if found is None or int(found["major"]) < _OLDEST_HELM:
        message = f"Helm {found[0] if found else 'of an unknown version'} is too old to apply on the server."
        yield Finding("kubernetes.helm", Severity.ERROR, message, "Install Helm 4.")


def _permission_findings(cluster: Cluster, wanted: list[tuple[str, str]]) -> Iterator[Finding]:
    """One finding for all that is not allowed: an administrator mends it in one step."""
    try:
        asked = _telling(wanted)
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            allowed = list(pool.map(lambda pair: cluster.may(*pair), asked))
        refused = [f"{verb} {resource}" for (verb, resource), may in zip(asked, allowed, strict=True) if not may]
    except ProgramFailed as error:
        yield Finding("kubernetes.permissions", Severity.WARNING, f"Permissions cannot be asked for: {error}.")
        return
    if refused:
        message = f"You may not, in this namespace: {', '.join(refused)}."
        remedy = f"Ask an administrator to apply {ROLE_FILE.name} of nimify, and to bind its Role to you."
        yield Finding("kubernetes.permissions", Severity.ERROR, message, remedy)
