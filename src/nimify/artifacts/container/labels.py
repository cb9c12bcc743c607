"""The labels of an image: what is in it, told to registries, scanners and people.

The description and the licence are the owner's own words, so this is the one place where free text reaches a
Dockerfile. It does so quoted, on one line, with everything escaped that means something between quotes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Final

from nimify.errors import one_line, shortened
from nimify.serving.spec import ServiceSpec
from nimify.version import __version__

_LONGEST: Final = 1024
_KEY: Final = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_SPECIAL: Final = re.compile(r'["\\$]')


def image_labels(service: ServiceSpec, *, family: str, openapi: bytes) -> dict[str, str]:
    """The labels of a service's image, by key.

    Args:
        service: What is served.
        family: The runtime family.
        openapi: The content of openapi.json.
    """
    signature = json.dumps(service.signature.to_dict(), sort_keys=True, separators=(",", ":"))
    labels = {
        "org.opencontainers.image.title": service.name,
        "org.opencontainers.image.version": service.version,
        "org.opencontainers.image.description": service.description,
        "org.opencontainers.image.licenses": service.license.name,
        "com.nvidia.nim.name": service.name,
        "com.nvidia.nim.version": service.version,
        "com.nvidia.nim.type": "triton" if family == "triton" else "",
        "com.nvidia.nim.inference_protocol": "http",
        # SageMaker may then choose the port, as it must where an endpoint has several containers.
        "com.amazonaws.sagemaker.capabilities.accept-bind-to-port": "true",
        "io.nimify.family": family,
        "io.nimify.generator-version": __version__,
        "io.nimify.model-digest": service.model_digest,
        "io.nimify.openapi-digest": _digest(openapi),
        "io.nimify.signature-digest": _digest(signature.encode()),
    }
    return {key: value for key, value in labels.items() if value}


def label_lines(labels: Mapping[str, str]) -> str:
    """One LABEL instruction with all of them.

    Raises:
        ValueError: A key is none.
    """
    return "LABEL " + " \\\n    ".join(f"{_checked(key)}={quoted(value)}" for key, value in labels.items())


def quoted(text: str) -> str:
    """Free text as a value in a Dockerfile: whatever it says, it stays this one value."""
    escaped = _SPECIAL.sub(lambda match: f"\\{match[0]}", one_line(shortened(text, _LONGEST)))
    return f'"{escaped}"'


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"'{key}' is no key of a label")
    return key


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
