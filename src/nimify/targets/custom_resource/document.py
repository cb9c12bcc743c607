"""The resource that is applied: the bundle's own file, with an order filled in."""

from __future__ import annotations

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.pod import resource_name
from nimify.config import parse_yaml
from nimify.errors import BundleDamaged
from nimify.images.reference import ImageName
from nimify.targets.custom_resource.kind import Document, ResourceKind
from nimify.targets.custom_resource.settings import ResourceSettings
from nimify.targets.target import Order

_PREFIX = "nimify.io/"
REVISION = f"{_PREFIX}revision"
VERSION = f"{_PREFIX}version"
MODEL = f"{_PREFIX}model-digest"
IMAGE = f"{_PREFIX}image"


def is_there(bundle: Bundle, kind: ResourceKind) -> bool:
    """Whether the bundle has a file of that kind."""
    return (bundle.path / kind.file).is_file()


def filled(bundle: Bundle, kind: ResourceKind, order: Order, revision: int) -> Document:
    """The bundle's resource with an order in it.

    Args:
        bundle: Which has a file of the kind.
        kind: The kind of resource.
        order: Names the image, and the settings.
        revision: The number that its pods are to bear.

    Raises:
        BundleDamaged: The file holds something else.
        ConfigError: The image or a setting is none.
    """
    path = bundle.path / kind.file
    settings = ResourceSettings.parse(order.settings, target=kind.target)
    image = ImageName.parse(order.image, field="--image")
    try:
        document: Document = dict(parse_yaml(path.read_text(encoding="utf-8"), source=kind.file))
        name = document["metadata"]["name"]
        if (document["apiVersion"], document["kind"], name) != (
            kind.api_version,
            kind.kind,
            resource_name(bundle.service.name),
        ):
            raise ValueError("it is another resource")
        kind.fill(document, image, settings, revision)
        document["metadata"].setdefault("annotations", {}).update(
            {
                REVISION: str(revision),
                VERSION: bundle.service.version,
                MODEL: bundle.service.model_digest,
                IMAGE: str(image),
            }
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise BundleDamaged(
            f"'{path}' is not the {kind.kind} that nimify wrote.",
            remedy=f"Write it again with: nimify create MODEL --force --with {kind.extra}",
        ) from error
    return document


def annotation(document: Document, name: str) -> str:
    """An annotation of a resource; empty when it has none of that name."""
    return str((document["metadata"].get("annotations") or {}).get(name, ""))


def revision_of(document: Document) -> int:
    """The number of its revision; 0 when it bears none."""
    text = annotation(document, REVISION)
    return int(text) if text.isascii() and text.isdigit() else 0
