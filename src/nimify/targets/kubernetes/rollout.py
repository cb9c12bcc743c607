"""From an order to a release that answers: applied, watched, proven in new pods, and undone when it fails."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.errors import LeftDegraded, NotDeployed, RolledBack
from nimify.programs import ProgramFailed
from nimify.targets.going_back import former_revision
from nimify.targets.kubernetes.cluster import Cluster
from nimify.targets.kubernetes.lease import DeployerLease
from nimify.targets.kubernetes.proving import prove_pods
from nimify.targets.kubernetes.release import Release, ReleaseRevision, good, stuck
from nimify.targets.kubernetes.watch import RolloutFailed, RolloutWatch
from nimify.targets.proof import Proofs
from nimify.targets.target import Order, Progress

_LEAST_S: Final = 60.0
"""Going back is given this long, even when the time of the order is over."""
_TRIES: Final = 3
_PAUSE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Rollout:
    """One order to one service, whose Lease the caller holds.

    Attributes:
        cluster: Where.
        release: The service as Helm knows it.
        proofs: Of the service.
        lease: Of the service, which is ours; it knows the last revision that was proven.
        order: What is to run.
        progress: Told what happens.
        deadline_s: By when it must be done, by the monotonic clock.
    """

    cluster: Cluster
    release: Release
    proofs: Proofs
    lease: DeployerLease
    order: Order
    progress: Progress
    deadline_s: float

    def deploy(self, bundle: Bundle, chart: Path, values: Mapping[str, str]) -> None:
        """Let a bundle's chart be the release.

        Raises:
            NotDeployed, RolledBack, LeftDegraded: See the target's contract.
        """
        history = self._unlocked(self.release.history())
        if not history:
            self.lease.forget()
        service = bundle.service
        description = f"nimify: {service.version}, {self.order.image or 'the image of the chart'}"
        try:
            revision = self._applied(chart, values, description)
        except ProgramFailed as error:
            self._undo(history, f"Helm could not apply the chart of '{self.release.name}': {error}.", ())
        self.progress(f"Revision {revision} is applied.")
        self.proofs.keep(revision, bundle)
        self._see_through(history, revision, bundle)

    def _applied(self, chart: Path, values: Mapping[str, str], description: str) -> int:
        """Apply the chart, and again where an object was changed by somebody else in between; the revision.

        Raises:
            ProgramFailed: Helm could not.
        """
        for left in reversed(range(_TRIES)):
            try:
                return self.release.upgrade(
                    chart,
                    values,
                    self.order.settings,
                    description=description,
                    new_namespace=self.lease.new_namespace,
                )
            except ProgramFailed as error:
                if not left or not error.says("conflict", "has been modified"):
                    raise
                self.progress(f"An object was changed by somebody else meanwhile; it is applied again: {error}.")
                time.sleep(_PAUSE_S)
        raise AssertionError("the last try returns or raises")

    def go_back(self) -> None:
        """Let an earlier revision be the release again, as a new one.

        Raises:
            ConfigError: There is no such revision.
            NotDeployed, RolledBack, LeftDegraded: See the target's contract.
        """
        history = self._unlocked(self.release.history())
        live = next((past.number for past in reversed(history) if past.status == "deployed"), None)
        skipped = self.lease.skipped if self.order.revision is None else set()
        numbers = [past.number for past in good(history) if past.number not in skipped]
        former = former_revision(self.order, numbers, live=live)
        try:
            self.release.rollback(former)
        except ProgramFailed as error:
            raise NotDeployed(f"Helm could not go back to revision {former}: {error}.") from error
        revision = history[-1].number + 1
        proof = self.proofs.find(former)
        if proof is not None:
            self.proofs.keep(revision, proof)
        self.progress(f"Revision {former} is applied again, as revision {revision}.")
        self._see_through(history, revision, proof)

    def _unlocked(self, history: list[ReleaseRevision]) -> list[ReleaseRevision]:
        """The history of a release that nobody is in the middle of.

        The Lease is ours, so whoever left it pending is gone: what was good before is applied again.
        """
        if not stuck(history):
            return history
        self.progress("A deployment that was killed left the release locked; what was good before is restored.")
        former = good(history)
        try:
            if former:
                self.release.rollback(self._proven(former))
            else:
                self.release.uninstall(keep_history=False)
            return self.release.history()
        except ProgramFailed as error:
            raise NotDeployed(f"The release is locked, and Helm cannot unlock it: {error}.") from error

    def _see_through(self, history: list[ReleaseRevision], revision: int, bundle: Bundle | None) -> None:
        """Watch the rollout, prove it, and undo it when it fails."""
        try:
            self._watch(self.deadline_s, bundle)
        except RolloutFailed as error:
            self.lease.skipped.add(revision)
            self._undo(history, f"Revision {revision} of '{self.release.name}' failed. {error}", error.evidence)
        self.lease.proven = revision
        self.progress(f"Revision {revision} is live.")

    def _watch(self, deadline_s: float, bundle: Bundle | None) -> None:
        selector = selector_of(self.release.name)
        pods = RolloutWatch(self.cluster, selector, self.progress, deadline_s).to_the_end()
        prove_pods(self.cluster, pods, bundle, self.progress, self.order.headers)

    def _undo(self, history: list[ReleaseRevision], why: str, evidence: tuple[str, ...]) -> None:
        """Go back to what was live before, and raise what says so."""
        former = good(history)
        live = bool(former) and history[-1].status != "uninstalled"
        try:
            if not live:
                self.release.uninstall(keep_history=bool(former))
                raise NotDeployed(f"{why} It was removed; nothing ran before.", evidence=evidence)
            back = self._proven(former)
            self.progress(f"It failed; revision {back} comes back.")
            self.release.rollback(back)
            number = self.release.history()[-1].number
            proof = self.proofs.find(back)
            if proof is not None:
                self.proofs.keep(number, proof)
            self._watch(max(self.deadline_s, time.monotonic() + _LEAST_S), proof)
        except (ProgramFailed, RolloutFailed) as error:
            remedy = f"Look at it with: nimify status {self.release.name}"
            raise LeftDegraded(f"{why} Going back failed, too: {error}", remedy=remedy, evidence=evidence) from error
        self.lease.proven = number
        self.lease.skipped.add(back)
        raise RolledBack(f"{why} Revision {back} answers again, as revision {number}.", evidence=evidence)

    def _proven(self, former: list[ReleaseRevision]) -> int:
        """The revision that was proven last: Helm calls deployed what it applied, even when nimify was killed then."""
        numbers = [revision.number for revision in former]
        proven = self.lease.proven
        return proven if proven is not None and proven in numbers else numbers[-1]


def selector_of(service: str) -> str:
    """The labels of the release's Deployment; the pod of the chart's test has another component."""
    return f"app.kubernetes.io/instance={service},app.kubernetes.io/component=inference"
