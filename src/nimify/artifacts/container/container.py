"""container/: the Dockerfile of each runtime family, the locked requirements, and what installs them.

The Dockerfiles lie beside this module as the files that linters read. A few places in them are filled in, and each by
something that cannot be more than it should be: names of a checked grammar, numbers, and quoted labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Final

from nimify.analysis.tables.releases import load_triton_releases
from nimify.artifacts.artifact import Artifact
from nimify.artifacts.container.labels import image_labels, label_lines
from nimify.planning.assets import PROCESSORS_FOLDER
from nimify.planning.plan import ServicePlan
from nimify.serving.spec import OPENAPI_FILE, PLAN_FILE

CONTAINER_FOLDER: Final = "container"
DOCKERIGNORE_FILE: Final = ".dockerignore"
FAMILIES: Final = ("cpu", "triton")
_FIXED: Final = ("prepare.py", "requirements.txt")
_PLACE: Final = re.compile(r"@([A-Z]+)@")
_VALUE: Final = re.compile(r"[A-Za-z0-9./ -]+")
_SIGNATURE: Final = "model.si[g]"
_SOURCE_TRUST: Final = "source"
_BUNDLE: Final = "/out/opt/nim/bundle"
"""Where the stages of the Dockerfile lay the bundle out."""


def dockerfile_path(family: str) -> str:
    """Where the Dockerfile of a runtime family lies in the bundle."""
    return f"{CONTAINER_FOLDER}/Dockerfile.{family}"


def container_artifacts(plan: ServicePlan, *, openapi: bytes, assets: Iterable[str] = ()) -> list[Artifact]:
    """Every file that images are built from.

    Args:
        plan: What was decided.
        openapi: The content of openapi.json.
        assets: Paths in the bundle of the files that settings name.
    """
    own = any(path.startswith(f"{PROCESSORS_FOLDER}/") for path in assets)
    return [
        Artifact(DOCKERIGNORE_FILE, _read("dockerignore").encode()),
        *(Artifact(f"{CONTAINER_FOLDER}/{name}", _read(name).encode()) for name in _FIXED),
        *(
            Artifact(dockerfile_path(family), dockerfile(plan, family, openapi=openapi, own_processors=own).encode())
            for family in FAMILIES
        ),
    ]


def dockerfile(plan: ServicePlan, family: str, *, openapi: bytes, own_processors: bool = False) -> str:
    """The text of a Dockerfile.

    Args:
        plan: What was decided.
        family: The runtime family.
        openapi: The content of openapi.json.
        own_processors: Whether the bundle has processors of its owner.

    Raises:
        ValueError: What was decided does not fit where it goes.
    """
    service = plan.service
    values = {
        "NAME": service.name,
        "SERVICE": f"{PLAN_FILE} {OPENAPI_FILE}",
        "STARTUP": str(round(plan.value("deployment.startup_s"))),
        "TRITON": triton_tag(),
    }
    labels = label_lines(image_labels(service, family=family, openapi=openapi))
    text = _filled(_read(f"Dockerfile.{family}").replace("@LABELS@\n", ""), values)
    if own_processors:
        before = f"COPY {values['SERVICE']} {_SIGNATURE} {_BUNDLE}/\n"
        text = text.replace(before, f"{before}COPY {PROCESSORS_FOLDER}/ {_BUNDLE}/{PROCESSORS_FOLDER}/\n")
    return f"{text}{labels}\n"


def triton_tag() -> str:
    """The release of Triton that images are built on: the newest one whose contents are known from NVIDIA's own pages.

    Raises:
        ConfigError: The user's own table is not usable.
    """
    releases = load_triton_releases().releases
    known = [release for release in releases if release.trust == _SOURCE_TRUST and release.onnxruntime is not None]
    return (known or list(releases))[0].tag


def _filled(template: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda match: _checked(values[match[1]]), template)


def _checked(value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise ValueError(f"'{value}' must not stand in a Dockerfile")
    return value


def _read(name: str) -> str:
    return (files("nimify.artifacts.container") / name).read_text(encoding="utf-8")
