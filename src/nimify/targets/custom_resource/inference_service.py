"""The `kserve` target: an InferenceService of KServe, without Knative."""

from __future__ import annotations

from typing import Final

from nimify.artifacts.kserve import INFERENCE_SERVICE_FILE
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

_CONDITIONS: Final = ("PredictorReady", "IngressReady", "Ready")
"""The first that is false says most about why."""


def fill(document: Document, image: ImageName, settings: ResourceSettings, revision: int) -> None:
    """Put an order into the resource."""
    predictor = document["spec"]["predictor"]
    container = predictor["containers"][0]
    container["image"] = str(image)
    container["env"] = with_variable(container.get("env", []), REVISION_VARIABLE, str(revision))
    if settings.pull_secret:
        predictor["imagePullSecrets"] = [{"name": settings.pull_secret}]
    if settings.replicas:
        predictor["minReplicas"] = predictor["maxReplicas"] = settings.replicas
    if settings.monitor == "off":
        for key in ("scrape", "port", "path"):
            document["metadata"].get("annotations", {}).pop(f"prometheus.io/{key}", None)


def verdict(document: Document) -> Verdict:
    """What the controller says: conditions, and how the change from one model to the next goes."""
    status, metadata = document.get("status", {}), document["metadata"]
    found = [condition(document, kind) for kind in _CONDITIONS]
    wrong = next((said for said in found if said.get("status") == "False"), {})
    model = status.get("modelStatus", {})
    failed = str(model["transitionStatus"]) if model.get("transitionStatus") == "InvalidSpec" else ""
    detail = model.get("lastFailureInfo", {}).get("message") if failed else wrong.get("message")
    return Verdict(
        ready=found[-1].get("status") == "True",
        failed=failed,
        message=str(detail or wrong.get("reason") or "the controller has not seen it yet"),
        current=int(status.get("observedGeneration", 0)) >= int(metadata.get("generation", 0)),
        url=str(status.get("url") or status.get("address", {}).get("url") or ""),
    )


INFERENCE_SERVICE: Final = ResourceKind(
    target="kserve",
    extra="kserve",
    file=INFERENCE_SERVICE_FILE,
    api_version="serving.kserve.io/v1beta1",
    kind="InferenceService",
    resource="inferenceservices.serving.kserve.io",
    operator="KServe",
    deployment=lambda name: f"{name}-predictor",
    fill=fill,
    verdict=verdict,
    monitored=lambda document: False,
)


class KServeTarget(CustomResourceTarget):
    """An InferenceService in a namespace of a cluster."""

    summary = "the bundle's InferenceService under KServe"
    kind = INFERENCE_SERVICE
