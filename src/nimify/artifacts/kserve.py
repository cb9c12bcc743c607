"""inferenceservice.yaml: the service as a custom predictor of KServe, which speaks the Open Inference Protocol (V2)."""

from __future__ import annotations

from typing import Any, Final

from nimify.artifacts.artifact import Artifact
from nimify.artifacts.image import CACHE_FOLDER, image_tag
from nimify.artifacts.pod import (
    container_resources,
    liveness_probe,
    readiness_probe,
    resource_name,
    restricted_container,
    startup_probe,
)
from nimify.artifacts.yaml_file import yaml_artifact
from nimify.planning.plan import ServicePlan
from nimify.quantities import size_text
from nimify.serving.paths import METRICS_PATH
from nimify.serving.ports import HTTP_PORT

INFERENCE_SERVICE_FILE: Final = "inferenceservice.yaml"
_HEADER: Final = """\
Written by nimify. Change nimify.yaml instead, and run: nimify create
For KServe without Knative. Set the image to where `nimify build --push` put it; then:
kubectl apply -f inferenceservice.yaml
"""


def inference_service_artifact(plan: ServicePlan) -> Artifact:
    """The file."""
    return yaml_artifact(INFERENCE_SERVICE_FILE, inference_service(plan), header=_HEADER)


def inference_service(plan: ServicePlan) -> dict[str, Any]:
    """The resource as plain data."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": resource_name(plan.service.name),
            "annotations": {
                "serving.kserve.io/deploymentMode": "RawDeployment",
                "prometheus.io/scrape": "true",
                "prometheus.io/port": str(HTTP_PORT),
                "prometheus.io/path": METRICS_PATH,
            },
        },
        "spec": {
            "predictor": {
                **_scaling(plan),
                "timeout": round(plan.value("limits.request_timeout_s")),
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": plan.value("deployment.termination_grace_s"),
                "containers": [_container(plan)],
                "volumes": [
                    {"name": "tmp", "emptyDir": {"sizeLimit": size_text(plan.value("deployment.tmp"))}},
                    {"name": "cache", "emptyDir": {"sizeLimit": size_text(plan.value("deployment.cache"))}},
                ],
            }
        },
    }


def _scaling(plan: ServicePlan) -> dict[str, Any]:
    """The bounds of KServe's own autoscaler: a fixed number is both of them."""
    if plan.value("deployment.scaling.mode") == "none":
        replicas = plan.value("deployment.replicas")
        return {"minReplicas": replicas, "maxReplicas": replicas}
    return {
        "minReplicas": plan.value("deployment.scaling.min_replicas"),
        "maxReplicas": plan.value("deployment.scaling.max_replicas"),
    }


def _container(plan: ServicePlan) -> dict[str, Any]:
    service = plan.service
    return {
        "name": "kserve-container",
        "image": f"{service.name}:{image_tag(service)}",
        "ports": [{"name": "http1", "containerPort": HTTP_PORT, "protocol": "TCP"}],
        "env": [{"name": "PROTOCOL", "value": "v2"}],  # what a custom predictor speaks; KServe takes v1 otherwise
        "resources": container_resources(plan),
        "securityContext": restricted_container(),
        "startupProbe": startup_probe(plan, HTTP_PORT),
        "readinessProbe": readiness_probe(HTTP_PORT),
        "livenessProbe": liveness_probe(HTTP_PORT),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "cache", "mountPath": CACHE_FOLDER}],  # noqa: S108
    }
