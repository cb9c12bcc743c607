"""The base of an image as a builder found it: pinned by its digest, or with a finding that says why it is not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nimify.findings import Finding, Severity
from nimify.images.image import Base
from nimify.images.reference import ImageName

LOCAL: Final = "localhost"
"""What buildah and podman give the names of images for a registry that came from none."""


def names_by_digest(asked: ImageName, known: Iterable[str]) -> list[ImageName]:
    """Of the names by digest that an engine has for an image, those of the repository that is asked for.

    Args:
        asked: The name that is asked for.
        known: E.g. `python@sha256:...`; one image may come from several registries, each with a digest of its own.
    """
    names = [ImageName.parse(text, field="digest") for text in known]
    return [name for name in names if name.full_repository == asked.full_repository]


def pinned(asked: ImageName, found: ImageName, image_id: str, *, stale: str = "") -> Base:
    """A base of a registry.

    Args:
        asked: As it was asked for.
        found: As the builder knows it, with its digest where there is one.
        image_id: Of the copy on this machine.
        stale: Why the registry could not be asked again; empty when it was.
    """
    digest = asked.digest or found.digest
    findings: tuple[Finding, ...] = ()
    if stale and not asked.digest:
        message = f"The base {asked} could not be looked up ({stale}); the copy on this machine is used."
        findings = (Finding("base.not-refreshed", Severity.WARNING, message, "Build again when the registry answers."),)
    return Base(str(found.pinned(digest)) if digest else str(asked), digest, image_id, findings)


def unpinned(asked: ImageName, found: str, image_id: str) -> Base:
    """A base that came from no registry.

    Args:
        asked: As it was asked for.
        found: What the builder calls it.
        image_id: Of the image.
    """
    short = image_id.removeprefix("sha256:")[:12]
    message = f"The base {asked} came from no registry, so it is pinned by nothing but its id ({short})."
    remedy = "Push it to a registry, and name it there with --base."
    return Base(found, id=image_id, findings=(Finding("base.not-pinned", Severity.WARNING, message, remedy),))
