"""chart/: the same templates and schema for every model, with Chart.yaml and values.yaml of its own.

The templates lie beside this module as the real files that Helm reads, so that its linters read them as they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from nimify.artifacts.artifact import Artifact
from nimify.artifacts.chart.values import values_text
from nimify.artifacts.yaml_file import yaml_text
from nimify.config import DeploymentConfig
from nimify.planning.plan import ServicePlan

CHART_FOLDER: Final = "chart"
KUBERNETES: Final = ">=1.29.0-0"
"""The releases that the templates are checked against; the suffix lets in a vendor's builds, e.g. v1.31.2-gke.1."""
_NOTICE: Final = "# Written by nimify. Change nimify.yaml instead, and run: nimify create\n"
_SEMVER: Final = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"
)


def chart_artifacts(plan: ServicePlan, asked: DeploymentConfig) -> list[Artifact]:
    """Every file of the chart."""
    static = files("nimify.artifacts.chart") / "static"
    return [
        Artifact(f"{CHART_FOLDER}/Chart.yaml", chart_text(plan).encode()),
        Artifact(f"{CHART_FOLDER}/values.yaml", values_text(plan, asked).encode()),
        *(Artifact(f"{CHART_FOLDER}/{path}", file.read_bytes()) for path, file in _walk(static)),
    ]


def chart_text(plan: ServicePlan) -> str:
    """Chart.yaml: the release of the service, and which model is in it."""
    service = plan.service
    return _NOTICE + yaml_text(
        {
            "apiVersion": "v2",
            "type": "application",
            "name": service.name,
            "version": chart_version(service.version),
            "appVersion": service.model_digest.removeprefix("sha256:")[:12],
            "description": service.description or f"The inference service {service.name}.",
            "kubeVersion": KUBERNETES,
            "annotations": {
                "artifacthub.io/category": "ai-machine-learning",
                "artifacthub.io/license": service.license.name or "unknown",
            },
        }
    )


def chart_version(version: str) -> str:
    """The release of a service as Helm takes it: as it is, or as build metadata when it is no semantic version."""
    if _SEMVER.fullmatch(version):
        return version
    return f"0.0.0+{'.'.join(re.findall('[0-9A-Za-z-]+', version))}"


def _walk(folder: Traversable, path: str = "") -> Iterator[tuple[str, Traversable]]:
    """Every file with its path, in a stable order."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _walk(entry, f"{path}{entry.name}/")
        else:
            yield f"{path}{entry.name}", entry
