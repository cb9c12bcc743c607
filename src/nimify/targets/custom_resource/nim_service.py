"""The `nim-operator` target: a NIMService of NVIDIA's NIM Operator."""

from __future__ import annotations

from typing import Final

from nimify.artifacts.nim_operator import NIM_SERVICE_FILE
from nimify.images.reference import ImageName
from nimify.targets.custom_resource.kind import (
    REVISION_VARIABLE,
    Document,
    ResourceKind,
    Verdict,
    condition,
    with_variable,
)
from nimify.targets.custom_resource.settings import ResourceSettings
from nimify.targets.custom_resource.target import CustomResourceTarget


def fill(document: Document, image: ImageName, settings: ResourceSettings, revision: int) -> None:
    """Put an order into the resource.

    The operator joins repository and tag with a colon and knows no digest of its own; a digest, split at its colon,
    is joined to a reference by digest.
    """
    spec = document["spec"]
    if image.digest:
        algorithm, _, digest = image.digest.partition(":")
        spec["image"].update(repository=f"{image.repository}@{algorithm}", tag=digest)
    else:
        spec["image"].update(repository=image.repository, tag=image.tag or "latest")
    if settings.pull_secret:
        spec["image"]["pullSecrets"] = [settings.pull_secret]
    if settings.replicas:
        spec.pop("scale", None)  # admission refuses both
        spec["replicas"] = settings.replicas
    if settings.monitor == "off":
        spec.pop("metrics", None)
    spec["env"] = with_variable(spec.get("env", []), REVISION_VARIABLE, str(revision))


def verdict(document: Document) -> Verdict:
    """What the operator says: a state in one word, and conditions with its reasons."""
    status = document.get("status", {})
    failure, readiness = condition(document, "NIM_SERVICE_FAILED"), condition(document, "NIM_SERVICE_READY")
    failed = status.get("state") == "Failed" or failure.get("status") == "True"
    said = failure if failed else readiness
    seen = int(said.get("observedGeneration") or 0)
    generation = document["metadata"].get("generation", 0)
    return Verdict(
        ready=status.get("state") == "Ready" and readiness.get("status", "True") == "True",
        failed=str(failure.get("reason") or "Failed") if failed else "",
        message=str(said.get("message") or status.get("state") or "the operator has not seen it yet"),
        # Its conditions need not say which generation they are about.
        current=seen > 0 and seen >= int(generation),
        url=str(status.get("model", {}).get("clusterEndpoint") or ""),
    )


NIM_SERVICE: Final = ResourceKind(
    target="nim-operator",
    extra="nim-operator",
    file=NIM_SERVICE_FILE,
    api_version="apps.nvidia.com/v1alpha1",
    kind="NIMService",
    resource="nimservices.apps.nvidia.com",
    operator="NVIDIA's NIM Operator",
    deployment=lambda name: name,
    fill=fill,
    verdict=verdict,
    monitored=lambda document: bool(document["spec"].get("metrics", {}).get("enabled")),
)


class NimOperatorTarget(CustomResourceTarget):
    """A NIMService in a namespace of a cluster."""

    summary = "the bundle's NIMService under NVIDIA's NIM Operator"
    kind = NIM_SERVICE
