"""What the generated files of every target know of the service's image."""

from __future__ import annotations

import re
from typing import Final

from nimify.serving.spec import ServiceSpec

CACHE_FOLDER: Final = "/opt/nim/.cache"
"""Where the service keeps what its next start can use; beside /tmp the only place that must be writable."""
_NOT_IN_TAGS: Final = re.compile(r"[^A-Za-z0-9_.-]")


def image_tag(service: ServiceSpec) -> str:
    """The release as an image tag, which has no `+`."""
    return _NOT_IN_TAGS.sub("-", service.version)
