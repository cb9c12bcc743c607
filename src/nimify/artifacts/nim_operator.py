"""nimservice.yaml: the service as a NIMService of NVIDIA's NIM Operator.

The fields are those of `apps.nvidia.com/v1alpha1` as of NIM Operator 3.1. Two rules of its admission shape the file:
`replicas` must not stand beside an enabled `scale`, and there must be exactly one storage, also for an image that
brings its model along.
"""

from __future__ import annotations

from typing import Any, Final

from nimify.artifacts.artifact import Artifact
from nimify.artifacts.image import image_tag
from nimify.artifacts.pod import (
    GROUP_ID,
    USER_ID,
    container_resources,
    liveness_probe,
    readiness_probe,
    resource_name,
    startup_probe,
)
from nimify.artifacts.yaml_file import yaml_artifact
from nimify.planning.plan import ServicePlan
from nimify.quantities import size_text
from nimify.serving.ports import GRPC_PORT, HTTP_PORT

NIM_SERVICE_FILE: Final = "nimservice.yaml"
_HEADER: Final = """\
Written by nimify. Change nimify.yaml instead, and run: nimify create
For NVIDIA's NIM Operator. Set image.repository to where `nimify build --push` put the image, and add
image.pullSecrets where the registry asks for one; then: kubectl apply -f nimservice.yaml
metrics needs the Prometheus Operator; its Prometheus must select by the label under serviceMonitor.
"""
_PORT_NAME: Final = "api"
"""How the Operator names the container's HTTP port."""


def nim_service_artifact(plan: ServicePlan) -> Artifact:
    """The file."""
    return yaml_artifact(NIM_SERVICE_FILE, nim_service(plan), header=_HEADER)


def nim_service(plan: ServicePlan) -> dict[str, Any]:
    """The resource as plain data."""
    service = plan.service
    return {
        "apiVersion": "apps.nvidia.com/v1alpha1",
        "kind": "NIMService",
        "metadata": {"name": resource_name(service.name)},
        "spec": {
            "image": {"repository": service.name, "tag": image_tag(service), "pullPolicy": "IfNotPresent"},
            "storage": {"emptyDir": {"sizeLimit": size_text(plan.value("deployment.cache"))}},
            "userID": USER_ID,
            "groupID": GROUP_ID,
            "resources": container_resources(plan),
            "expose": {"service": {"type": "ClusterIP", "port": HTTP_PORT, "grpcPort": GRPC_PORT}},
            "metrics": {
                "enabled": True,
                "serviceMonitor": {
                    "additionalLabels": {"release": "kube-prometheus-stack"},
                    "interval": "15s",
                    "scrapeTimeout": "10s",
                },
            },
            **_scaling(plan),
            "startupProbe": {"enabled": True, "probe": startup_probe(plan, _PORT_NAME)},
            "readinessProbe": {"enabled": True, "probe": readiness_probe(_PORT_NAME)},
            "livenessProbe": {"enabled": True, "probe": liveness_probe(_PORT_NAME)},
        },
    }


def _scaling(plan: ServicePlan) -> dict[str, Any]:
    """A number of replicas, or what decides it; never both."""
    if plan.value("deployment.scaling.mode") != "hpa":
        return {"replicas": plan.value("deployment.replicas")}
    waiting = {
        "metric": {"name": "nv_inference_pending_request_count"},
        "target": {"type": "AverageValue", "averageValue": str(plan.value("deployment.scaling.queue_target"))},
    }
    return {
        "scale": {
            "enabled": True,
            "hpa": {
                "minReplicas": plan.value("deployment.scaling.min_replicas"),
                "maxReplicas": plan.value("deployment.scaling.max_replicas"),
                "metrics": [{"type": "Pods", "pods": waiting}],
            },
        }
    }
