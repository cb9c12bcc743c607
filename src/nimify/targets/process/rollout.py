"""From an order to a revision that answers: tried first, switched to, proven, and undone when it fails."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.errors import EnvironmentProblem, LeftDegraded, NimifyError, NotDeployed, RolledBack
from nimify.targets.going_back import former_revision
from nimify.targets.process.folder import Report, ServiceFolder
from nimify.targets.process.log_file import LogFile
from nimify.targets.process.orders import go_live, stop
from nimify.targets.process.revisions import Revisions, Snapshot, digest_of, files_of
from nimify.targets.process.settings import ProcessSettings
from nimify.targets.process.trial import TrialFailed, try_out
from nimify.targets.process.view import live_revision
from nimify.targets.target import Order, Progress
from nimify.targets.verification import Unfit, unready, verify

_LEAST_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Rollout:
    """One order to one service, whose lock the caller holds.

    Attributes:
        folder: Of the service.
        order: What is to run.
        progress: Told what happens.
        deadline_s: By when it must be done, by the monotonic clock.
    """

    folder: ServiceFolder
    order: Order
    progress: Progress
    deadline_s: float

    def deploy(self, bundle: Bundle) -> bool:
        """Let a bundle answer; `False` when it does already.

        Raises:
            NotDeployed, RolledBack, LeftDegraded: See the target's contract.
        """
        settings = ProcessSettings.parse(self.order.settings)
        revisions = Revisions(self.folder.revisions)
        live = live_revision(self.folder)
        revisions.tidy(live=live)
        files = files_of(bundle.path)
        if self._answers_already(files, settings, live):
            return False
        snapshot = revisions.take(bundle, files, settings)
        try:
            self._try(snapshot)
            self._switch(snapshot, live)
        except (NotDeployed, RolledBack):
            revisions.discard(snapshot.number)
            raise
        revisions.tidy(live=snapshot.number)
        return True

    def go_back(self) -> bool:
        """Let an earlier revision answer again; `False` when it is the one that does.

        Raises:
            ConfigError: There is no such revision.
            NotDeployed, RolledBack, LeftDegraded: See the target's contract.
        """
        live = live_revision(self.folder)
        good = {snapshot.number: snapshot for snapshot in Revisions(self.folder.revisions).all() if snapshot.went_live}
        snapshot = good[former_revision(self.order, list(good), live=live)]
        if snapshot.number == live and self._healthy:
            return False
        self._switch(snapshot, live)
        return True

    def _answers_already(self, files: dict[str, str], settings: ProcessSettings, live: int | None) -> bool:
        present = None if live is None else Revisions(self.folder.revisions).find(live)
        return (
            present is not None
            and present.digest == digest_of(files)
            and present.settings == settings
            and self._healthy
        )

    @property
    def _healthy(self) -> bool:
        report = self.folder.report()
        return report is not None and report.state == "running" and unready(report.url) is None

    @property
    def _left_s(self) -> float:
        return max(_LEAST_S, self.deadline_s - time.monotonic())

    def _try(self, snapshot: Snapshot) -> None:
        """Serve it on a port of its own first: what fails there never gets a request."""
        self.progress(f"Revision {snapshot.number} is tried on a port of its own.")
        try:
            try_out(
                self._bundle(snapshot),
                snapshot.settings,
                within_s=self._left_s,
                log=LogFile(self.folder.log),
                headers=self._key(snapshot),
            )
        except TrialFailed as error:
            raise NotDeployed(
                f"Revision {snapshot.number} of '{self.folder.name}' failed its trial, and nothing changed. {error}",
                evidence=error.evidence,
            ) from error
        self.progress(f"Revision {snapshot.number} answers the golden requests as recorded.")

    def _switch(self, snapshot: Snapshot, previous: int | None) -> None:
        """Let it answer, and prove that it does; back to the previous one when it does not."""
        if previous is not None:
            self.progress(
                f"Revision {snapshot.number} takes over from revision {previous}, which finishes its requests."
            )
        key = self._key(snapshot)
        report = self._order(snapshot)
        if report.failure:
            raise NotDeployed(
                f"Revision {snapshot.number} of '{self.folder.name}' did not start, and nothing changed. "
                f"{report.failure}",
                evidence=tuple(report.evidence),
            )
        try:
            verify(report.url, self._bundle(snapshot), within_s=self._left_s, headers=key)
        except Unfit as error:
            self._undo(snapshot, previous, str(error))
        Revisions(self.folder.revisions).keep(snapshot.number)
        self.progress(f"Revision {snapshot.number} is live on {report.url}.")

    def _order(self, snapshot: Snapshot) -> Report:
        try:
            return go_live(self.folder, snapshot, within_s=self._left_s)
        except EnvironmentProblem as error:
            raise LeftDegraded(error.message, remedy=error.remedy) from error

    def _undo(self, snapshot: Snapshot, previous: int | None, why: str) -> None:
        """Go back, and raise what says so."""
        failed = f"Revision {snapshot.number} of '{self.folder.name}' went live and failed. {why}"
        evidence = self._evidence()
        if previous is None:
            stop(self.folder)
            raise NotDeployed(f"{failed} It was stopped; nothing ran before.", evidence=evidence)
        self.progress(f"Revision {snapshot.number} failed; revision {previous} comes back.")
        former = Revisions(self.folder.revisions).find(previous)
        try:
            report = None if former is None else go_live(self.folder, former, within_s=self._left_s)
            if former is None or report is None or report.failure:
                raise Unfit("it did not start" if report is None else report.failure)
            verify(report.url, self._bundle(former), within_s=self._left_s, headers=self._key(former))
        except (Unfit, NimifyError) as error:
            raise LeftDegraded(
                f"{failed} Revision {previous} did not come back: {error}",
                remedy=f"Look at it with: nimify logs {self.folder.name}",
                evidence=evidence,
            ) from error
        raise RolledBack(f"{failed} Revision {previous} answers again.", evidence=evidence)

    def _evidence(self) -> tuple[str, ...]:
        report = self.folder.report()
        return () if report is None else tuple(report.evidence)

    def _key(self, snapshot: Snapshot) -> Mapping[str, str]:
        """What lets the proof of a revision in: what was ordered, or one of the keys that it accepts."""
        return self.order.headers or snapshot.settings.key

    def _bundle(self, snapshot: Snapshot) -> Bundle:
        return Bundle.open(Revisions(self.folder.revisions).bundle(snapshot.number))
