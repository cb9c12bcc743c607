"""From an order to a resource whose pods answer: applied, watched, proven in new pods, and undone when it fails."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.pod import resource_name
from nimify.errors import LeftDegraded, NotDeployed, RolledBack
from nimify.programs import ProgramFailed
from nimify.targets.custom_resource.document import filled, revision_of
from nimify.targets.custom_resource.history import History, KeptRevision
from nimify.targets.custom_resource.kind import Document, ResourceKind
from nimify.targets.custom_resource.watch import ResourceWatch
from nimify.targets.going_back import former_revision
from nimify.targets.kubernetes.cluster import Cluster
from nimify.targets.kubernetes.proving import prove_pods
from nimify.targets.kubernetes.watch import RolloutFailed
from nimify.targets.proof import Proofs
from nimify.targets.target import Order, Progress

_LEAST_S: Final = 60.0
"""Going back is given this long, even when the time of the order is over."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One order to one service, whose Lease the caller holds.

    Attributes:
        cluster: Where.
        kind: Of the resource.
        history: The revisions of the service.
        proofs: Of the service.
        order: What is to run.
        progress: Told what happens.
        deadline_s: By when it must be done, by the monotonic clock.
    """

    cluster: Cluster
    kind: ResourceKind
    history: History
    proofs: Proofs
    order: Order
    progress: Progress
    deadline_s: float

    @property
    def name(self) -> str:
        """Of the resource."""
        return resource_name(self.order.reference.name)

    def deploy(self, bundle: Bundle) -> bool:
        """Let a bundle's resource be the one of the cluster; `False` when it is already, and was proven.

        Raises:
            NotDeployed, RolledBack, LeftDegraded: See the target's contract.
        """
        live = self.cluster.get(self.kind.resource, self.name)
        refuse_strange(live, self.kind)
        number = 0 if live is None else revision_of(live)
        kept = self.history.tidy(number)
        if live is not None and self._is_that(live, bundle, kept):
            return False
        revision = max([number, *(past.number for past in kept)], default=0) + 1
        document = filled(bundle, self.kind, self.order, revision)
        self.history.add(document)
        self.proofs.keep(revision, bundle)
        self._bring(document, live, kept, bundle)
        return True

    def go_back(self) -> bool:
        """Let the resource of an earlier revision be applied again; `False` when it is already.

        Raises:
            ConfigError: There is no such revision.
            NotDeployed, RolledBack, LeftDegraded: See the target's contract.
        """
        live = self.cluster.get(self.kind.resource, self.name)
        number = None if live is None else revision_of(live)
        kept = [past for past in self.history.revisions() if past.proven]
        chosen = former_revision(self.order, [past.number for past in kept], live=number)
        if chosen == number:
            return False
        document = next(past.document for past in kept if past.number == chosen)
        self._bring(document, live, kept, self.proofs.find(chosen))
        return True

    def _is_that(self, live: Document, bundle: Bundle, kept: Sequence[KeptRevision]) -> bool:
        number = revision_of(live)
        if not any(past.proven and past.number == number for past in kept) or not self.kind.verdict(live).ready:
            return False
        return not differs(self.cluster, live, filled(bundle, self.kind, self.order, number))

    def _bring(
        self, document: Document, live: Document | None, kept: Sequence[KeptRevision], bundle: Bundle | None
    ) -> None:
        """Apply a resource, watch and prove it, and undo it when it fails."""
        revision = revision_of(document)
        former = self._former(live, kept, revision)
        try:
            self.cluster.apply(document)
        except ProgramFailed as error:
            # The API server takes a resource whole or not at all.
            raise NotDeployed(f"The cluster refuses revision {revision}, and nothing changed: {error}.") from error
        self.progress(f"Revision {revision} is applied.")
        try:
            self._see_through(revision, self.deadline_s, bundle)
        except (RolloutFailed, ProgramFailed) as error:
            why = f"Revision {revision} of '{self.order.reference.name}' failed. {error}"
            self._undo(former, why, getattr(error, "evidence", ()))
        self.history.prove(revision)
        self.progress(f"Revision {revision} is live.")

    def _former(self, live: Document | None, kept: Sequence[KeptRevision], revision: int) -> KeptRevision | None:
        """What is gone back to: what is live, or else the last that was proven; nothing where nothing ran."""
        if live is None:
            return None
        good = [past for past in kept if past.proven and past.number != revision]
        return next((past for past in good if past.number == revision_of(live)), good[-1] if good else None)

    def _see_through(self, revision: int, deadline_s: float, bundle: Bundle | None) -> None:
        watch = ResourceWatch(
            self.cluster, "", self.progress, deadline_s, kind=self.kind, name=self.name, revision=revision
        )
        pods = watch.to_the_end()
        prove_pods(self.cluster, pods, bundle, self.progress, self.order.headers)

    def _undo(self, former: KeptRevision | None, why: str, evidence: tuple[str, ...]) -> None:
        """Go back to what was live before, and raise what says so."""
        try:
            if former is None:
                self.cluster.delete(self.kind.resource, self.name)
                raise NotDeployed(f"{why} It was removed; nothing ran before.", evidence=evidence)
            self.progress(f"It failed; revision {former.number} comes back.")
            self.cluster.apply(former.document)
            within_s = max(self.deadline_s, time.monotonic() + _LEAST_S)
            self._see_through(former.number, within_s, self.proofs.find(former.number))
        except (ProgramFailed, RolloutFailed) as error:
            remedy = f"Look at it with: nimify status {self.order.reference.name}"
            raise LeftDegraded(f"{why} Going back failed, too: {error}", remedy=remedy, evidence=evidence) from error
        raise RolledBack(f"{why} Revision {former.number} answers again.", evidence=evidence)


def refuse_strange(live: Document | None, kind: ResourceKind) -> None:
    """Leave alone what somebody else made.

    Raises:
        NotDeployed: There is such a resource.
    """
    if live is not None and not revision_of(live):
        raise NotDeployed(
            f"The {kind.kind} '{live['metadata']['name']}' is there already, and was not made by this target.",
            remedy="Make the bundle with another --name, or delete the resource by hand.",
        )


def differs(cluster: Cluster, live: Document, document: Document) -> bool:
    """Whether applying a resource would change it, as the API server sees it, defaults and all."""
    would_be = cluster.apply(document, dry_run=True)
    return bool(would_be["spec"] != live["spec"])
