"""How docker, buildah and podman are told to build, and what they tell meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from nimify.images.image import Progress, Recipe

TRANSFER_S: Final = 3600.0
"""How long an image may take from or to a registry."""
QUICK_S: Final = 20.0
"""How long a builder may take to say that it is there."""
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


def build_arguments(recipe: Recipe) -> list[str]:
    """The arguments that docker, buildah and podman have in common."""
    return [
        f"--file={recipe.dockerfile}",
        f"--build-arg=BASE={recipe.base}",
        # Without a value each takes that of our environment, and leaves no trace in the image.
        *(f"--build-arg={name}" for name in _PROXIES),
        *(f"--label={key}={value}" for key, value in recipe.labels.items()),
        *(f"--secret=id={name},src={path}" for name, path in recipe.secrets.items()),
        *platform_arguments(recipe.platform),
        *([f"--network={recipe.network}"] if recipe.network else []),
    ]


def platform_arguments(platform: str) -> list[str]:
    """The argument that names a platform; none for the builder's own."""
    return [f"--platform={platform}"] if platform else []


def steps_told(progress: Progress, step: re.Pattern[str]) -> Callable[[str], None]:
    """Takes the lines of a build, and passes on what a pattern's group finds in them: the step that is next."""

    def tell(line: str) -> None:
        if match := step.match(line):
            progress(match[1])

    return tell
