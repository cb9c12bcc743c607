"""The contract of a builder: a program that makes images, and what it is told and tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from nimify.findings import Finding
from nimify.images.context import Context
from nimify.images.reference import ImageName
from nimify.images.runtime import Runtime

Progress: TypeAlias = Callable[[str], None]
"""Told of each step, in one line."""


@dataclass(frozen=True, slots=True)
class Base:
    """The image that another is built on.

    Attributes:
        name: As the build is told: by digest where one is known.
        digest: Of its manifest; empty when it came from no registry.
        id: Of the image in the builder's store; empty when it is not there yet.
        findings: Why it is not pinned, or where it came from.
    """

    name: str
    digest: str = ""
    id: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is to be built.

    Attributes:
        dockerfile: Its path in the context.
        context: The files.
        base: What to build on.
        labels: Put on the image beside those of the Dockerfile.
        secrets: Files that a build may read and that no layer holds, by name.
        platform: e.g. `linux/amd64`; empty for the builder's own.
        network: Of the steps that fetch packages; empty for the builder's default.
        timeout_s: How long it may take.
    """

    dockerfile: str
    context: Context
    base: str
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)
    platform: str = ""
    network: str = ""
    timeout_s: float = 1800.0


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image that was built.

    Attributes:
        name: What it is called.
        id: Digest of its configuration: the same for the same content, wherever it lies.
        digest: Of its manifest in a registry; empty as long as it was not pushed.
        size_bytes: Of all layers, unpacked.
        layers: Digests of the layers, the lowest first.
    """

    name: str
    id: str
    digest: str = ""
    size_bytes: int = 0
    layers: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "layers": list(self.layers)}


class Builder(Protocol):
    """A program that makes images.

    Attributes:
        name: What users call it.
    """

    name: str

    def preflight(self) -> str:
        """See that it is there and works; its version.

        Raises:
            EnvironmentProblem: It is missing, or does not answer.
        """
        ...

    def find_base(self, name: ImageName, *, platform: str) -> Base:
        """Fetch a base image, and pin it by its digest.

        Raises:
            EnvironmentProblem: It is neither here nor to be had.
        """
        ...

    def build(self, recipe: Recipe, progress: Progress) -> ImageRef:
        """Build an image; it has no name yet.

        Raises:
            BuildFailed: A step failed; carries its last lines.
        """
        ...

    def runtime(self, image: ImageRef) -> Runtime:
        """What can start the image, to prove it.

        Raises:
            EnvironmentProblem: Nothing on this machine can.
        """
        ...

    def tag(self, image: ImageRef, name: ImageName) -> None:
        """Give an image its name."""
        ...

    def push(self, image: ImageRef, name: ImageName) -> str:
        """Send it to its registry; the digest of its manifest there.

        Raises:
            EnvironmentProblem: The registry refuses, or is not to be reached.
        """
        ...
