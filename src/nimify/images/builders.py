"""Which builder: the one that is asked for, or the first that works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nimify.errors import ConfigError, EnvironmentProblem
from nimify.images.buildah import BuildahBuilder
from nimify.images.docker import DockerBuilder
from nimify.images.image import Builder
from nimify.images.podman import PodmanBuilder

BUILDERS: Final[dict[str, Callable[[], Builder]]] = {
    "docker": DockerBuilder,
    "buildah": BuildahBuilder,
    "podman": PodmanBuilder,
}
"""In the order in which `auto` tries them."""


def choose(name: str) -> tuple[Builder, str]:
    """A builder that works, and its version.

    Raises:
        ConfigError: There is no builder of that name.
        EnvironmentProblem: It does not work here; with `auto`, none does.
    """
    if name != "auto":
        if name not in BUILDERS:
            raise ConfigError(f"must be auto or one of {', '.join(BUILDERS)}, not '{name}'.", field="--builder")
        builder = BUILDERS[name]()
        return builder, builder.preflight()
    problems: list[str] = []
    for make in BUILDERS.values():
        builder = make()
        try:
            return builder, builder.preflight()
        except EnvironmentProblem as error:
            problems.append(error.message)
    raise EnvironmentProblem(
        f"No builder works on this machine. {' '.join(problems)}",
        remedy="Start Docker, or install podman or buildah.",
    )
