"""The revisions of a custom resource, as ControllerRevisions beside it: the cluster's own object for such a record.

What a revision was is in its data, which the cluster does not let anybody change. Whether it was proven is an
annotation, which is added when it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nimify.targets.custom_resource.document import VERSION, annotation, revision_of
from nimify.targets.custom_resource.kind import Document
from nimify.targets.kubernetes.cluster import Cluster
from nimify.targets.target import utc_now

RESOURCE: Final = "controllerrevisions.apps"
KEPT: Final = 10
_PROVEN: Final = "nimify.io/proven"
_MADE: Final = "nimify.io/made-at"


@dataclass(frozen=True, slots=True)
class KeptRevision:
    """One revision.

    Attributes:
        number: Counts up from 1.
        document: The resource, as it was applied.
        proven: Whether it answered the golden requests.
        made_at: In UTC, ISO 8601.
        version: Release of the service.
    """

    number: int
    document: Document
    proven: bool
    made_at: str
    version: str


@dataclass(frozen=True, slots=True)
class History:
    """The revisions of one service on one target.

    Every method raises `ProgramFailed` with the API server's words.

    Attributes:
        cluster: Where.
        target: Name of the target.
        service: Name of the service.
    """

    cluster: Cluster
    target: str
    service: str

    def revisions(self) -> list[KeptRevision]:
        """All of them, the oldest first."""
        selector = ",".join(f"{key}={value}" for key, value in self._labels().items())
        found = self.cluster.find(RESOURCE, selector)
        return sorted((_read(document) for document in found), key=lambda revision: revision.number)

    def add(self, document: Document) -> None:
        """Keep a resource as its revision, not proven yet."""
        number = revision_of(document)
        self.cluster.create(
            {
                "apiVersion": "apps/v1",
                "kind": "ControllerRevision",
                "metadata": {
                    "name": self._name(number),
                    "labels": self._labels(),
                    "annotations": {_MADE: utc_now(), VERSION: annotation(document, VERSION)},
                },
                "revision": number,
                "data": document,
            }
        )

    def prove(self, number: int) -> None:
        """Note that a revision was proven."""
        found = self.cluster.get(RESOURCE, self._name(number))
        if found is not None:
            found["metadata"].setdefault("annotations", {})[_PROVEN] = "true"
            self.cluster.replace(found)

    def tidy(self, live: int) -> list[KeptRevision]:
        """Drop what was never proven, and all but the newest; what is left, the oldest first."""
        there = self.revisions()
        proven = [revision for revision in there if revision.proven][-KEPT:]
        kept = [revision for revision in there if revision in proven or revision.number == live]
        for revision in there:
            if revision not in kept:
                self.discard(revision.number)
        return kept

    def discard(self, number: int) -> None:
        """Drop a revision."""
        self.cluster.delete(RESOURCE, self._name(number))

    def _name(self, number: int) -> str:
        return f"nimify-{self.target}-{self.service}-{number}"

    def _labels(self) -> dict[str, str]:
        return {"nimify.io/service": self.service, "nimify.io/target": self.target}


def _read(found: Document) -> KeptRevision:
    return KeptRevision(
        number=int(found["revision"]),
        document=found["data"],
        proven=annotation(found, _PROVEN) == "true",
        made_at=annotation(found, _MADE),
        version=annotation(found, VERSION),
    )
