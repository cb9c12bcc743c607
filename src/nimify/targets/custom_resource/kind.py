"""What tells one kind of custom resource from another: its names, how an order gets into it, what its status says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from nimify.images.reference import ImageName
from nimify.targets.custom_resource.settings import ResourceSettings

Document = dict[str, Any]
REVISION_VARIABLE: Final = "NIMIFY_REVISION"
"""In the environment of every container, so that a pod says of which revision it is, whoever made it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an operator says of a resource.

    Attributes:
        ready: Whether it says that the service answers.
        failed: The word for why it will not; empty while it may.
        message: Why it is not ready, in the operator's words.
        current: Whether it is known to speak of what was asked last, and not of what was before.
        url: Where clients reach the service; empty when it does not say.
    """

    ready: bool
    failed: str = ""
    message: str = ""
    current: bool = True
    url: str = ""


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """A kind of custom resource.

    Attributes:
        target: Name of the target.
        extra: What `nimify create --with` calls it.
        file: Of the bundle, that holds it.
        api_version: E.g. `serving.kserve.io/v1beta1`.
        kind: E.g. `InferenceService`.
        resource: As kubectl takes it, e.g. `inferenceservices.serving.kserve.io`.
        operator: Who carries it out.
        deployment: Gives the name of the Deployment that the operator makes, by the name of the resource.
        fill: Puts an image, settings and the number of the revision into a resource.
        verdict: Reads its status.
        monitored: Whether the resource asks for a ServiceMonitor.
    """

    target: str
    extra: str
    file: str
    api_version: str
    kind: str
    resource: str
    operator: str
    deployment: Callable[[str], str]
    fill: Callable[[Document, ImageName, ResourceSettings, int], None]
    verdict: Callable[[Document], Verdict]
    monitored: Callable[[Document], bool]


def condition(document: Document, kind: str) -> Document:
    """One condition of a resource's status; empty when it has none of that kind."""
    for found in document.get("status", {}).get("conditions") or ():
        if found.get("type") == kind:
            return dict(found)
    return {}


def with_variable(variables: list[Document], name: str, value: str) -> list[Document]:
    """The environment of a container with one variable set."""
    return [*(variable for variable in variables if variable.get("name") != name), {"name": name, "value": value}]
