"""From an order to a release that answers at a cloud: brought, proven, switched to, and undone when it fails."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from nimify.artifacts.bundle import Bundle
from nimify.errors import LeftDegraded, NotDeployed, RolledBack
from nimify.programs import ProgramFailed
from nimify.targets.cloud.cloud import Cloud, Release, State
from nimify.targets.cloud.proof import broken_promise
from nimify.targets.cloud.tag import Tag, digest_of
from nimify.targets.going_back import former_revision
from nimify.targets.handover import hand_over
from nimify.targets.proof import Proofs
from nimify.targets.target import Order, Progress
from nimify.targets.verification import Unfit

POLL_S: Final = 5.0
_LEAST_S: Final = 600.0
"""Going back is given this long, even when the time of the order is over: machines are started for it."""
UNNUMBERED: Final = Tag(1, "000000")


@dataclass(frozen=True, slots=True)
class Rollout:
    """One order to one service, whose lock on this machine the caller holds.

    Attributes:
        target: Name of the target.
        cloud: Where.
        proofs: Of the service.
        order: What is to run.
        progress: Told what happens.
        deadline_s: By when it must be done, by the monotonic clock.
    """

    target: str
    cloud: Cloud
    proofs: Proofs
    order: Order
    progress: Progress
    deadline_s: float

    def deploy(self, bundle: Bundle) -> bool:
        """Let a bundle's image answer; `False` when it does already.

        Raises:
            NotDeployed, RolledBack, LeftDegraded: See the target's contract.
        """
        state = self.cloud.state()
        self._refuse_unsettled(state)
        self._refuse_strange(state)
        if self._is_done(state, bundle):
            return False
        release = next_release(self.target, self.cloud, self.order, state)
        self.progress(f"Release {release.tag} is brought to {self.target}; this takes minutes.")
        try:
            self.cloud.bring(release, state, timeout_s=self._left())
            self._prove(release.tag, bundle)
            self._switch(release.tag)
        except (ProgramFailed, Unfit) as error:
            self._undo(state, release.tag, f"Release {release.tag} of '{self.order.reference.name}' failed: {error}")
        self.proofs.keep(release.tag.number, bundle)
        self._retire(release.tag)
        return True

    def go_back(self) -> bool:
        """Let an earlier release answer again; `False` when it does already.

        Raises:
            ConfigError: There is no such release.
            NotDeployed, RolledBack, LeftDegraded: See the target's contract.
        """
        state = self.cloud.state()
        self._refuse_unsettled(state)
        there = {tag.number: tag for tag in self.cloud.releases()}
        live = state.live.number if state.live is not None else None
        chosen = there[former_revision(self.order, list(there), live=live)]
        if chosen == state.live:
            return False
        self.progress(f"Release {chosen} comes back; this takes minutes.")
        try:
            self._switch(chosen)
            self._prove(chosen, self.proofs.find(chosen.number))
        except (ProgramFailed, Unfit) as error:
            self._undo(state, None, f"Release {chosen} of '{self.order.reference.name}' did not come back: {error}")
        self._retire(chosen)
        return True

    def _refuse_unsettled(self, state: State) -> None:
        if not state.settled:
            raise NotDeployed(
                f"'{self.order.reference.name}' is being changed right now: {state.word}.",
                remedy="Wait until it is done.",
            )

    def _refuse_strange(self, state: State) -> None:
        if state.present and state.healthy and state.live is None:
            raise NotDeployed(
                f"'{self.order.reference.name}' is there already, and was not made by nimify.",
                remedy="Make the bundle with another --name, or remove what is there by hand.",
            )

    def _is_done(self, state: State, bundle: Bundle) -> bool:
        """Whether what is ordered answers, and was proven; here and now, when it was not from this machine."""
        if state.live is None or not is_live(self.cloud, self.order, state):
            return False
        if self.proofs.find(state.live.number) is None:
            try:
                self._prove(state.live, bundle)
            except (ProgramFailed, Unfit):
                return False
            self.proofs.keep(state.live.number, bundle)
        return True

    def _left(self) -> float:
        return max(self.deadline_s - time.monotonic(), 1.0)

    def _settled(self, deadline_s: float) -> State:
        """Wait until nothing is under way.

        Raises:
            Unfit: It does not end in time.
        """
        said = ""
        while not (state := self.cloud.state()).settled:
            if state.word != said:
                said = state.word
                self.progress(f"{self.target} says: {said}.")
            if time.monotonic() > deadline_s:
                raise Unfit(f"it was not done in time: {state.word}")
            time.sleep(POLL_S)
        return state

    def _prove(self, tag: Tag, bundle: Bundle | None) -> None:
        """Hold a release to its bundle, where it is reached already.

        Raises:
            Unfit: It is not there, or answers otherwise.
        """
        state = self._settled(self.deadline_s)
        if not state.present or (state.live == tag and not state.healthy):
            raise Unfit(state.reason or state.word)
        if tag not in self.cloud.releases():
            raise Unfit(state.reason or "the cloud does not know it")
        if bundle is None:
            self.progress("Its golden requests are not on this machine; the cloud says that it answers.")
            return
        problem = broken_promise(self.cloud, tag, bundle)
        if problem is not None:
            raise Unfit(problem)
        self.progress(f"Release {tag} answers the golden requests as recorded.")

    def _switch(self, tag: Tag, *, deadline_s: float = 0.0) -> None:
        """Let requests go to a release.

        Raises:
            Unfit: They do not.
        """
        until_s = max(self.deadline_s, deadline_s)
        if self.cloud.state().live != tag:
            self.cloud.switch(tag, timeout_s=max(until_s - time.monotonic(), 1.0))
        state = self._settled(until_s)
        if state.live != tag or not state.healthy:
            raise Unfit(state.reason or state.word)
        self.progress(f"Release {tag} is live.")

    def _undo(self, before: State, failed: Tag | None, why: str) -> NoReturn:
        """Go back to what was live before, and raise what says so."""
        deadline_s = time.monotonic() + _LEAST_S
        try:
            now = self._settled(deadline_s)
            back = before.live if now.live != before.live else None
            if back is not None:
                self.progress(f"It failed; release {back} comes back.")
                self._switch(back, deadline_s=deadline_s)
            elif not before.present and failed is not None:
                self.cloud.stop()
        except (ProgramFailed, Unfit) as error:
            remedy = f"Look at it with: nimify status {self.order.reference.name}"
            raise LeftDegraded(f"{why} Going back failed, too: {error}", remedy=remedy) from error
        if failed is not None:
            with suppress(ProgramFailed):  # what is left costs nothing, and its number is not used again
                self.cloud.discard(failed)
        if back is not None:
            raise RolledBack(f"{why} Release {back} answers again.")
        raise NotDeployed(f"{why} Nothing changed." if before.live is not None else f"{why} Nothing ran before.")

    def _retire(self, live: Tag) -> None:
        try:
            self.cloud.retire(live)
        except ProgramFailed as error:
            self.progress(f"What ran before could not be removed, and goes on costing: {error}.")


def is_live(cloud: Cloud, order: Order, state: State) -> bool:
    """Whether what is ordered is what answers."""
    wanted = digest_of(cloud.files(order, UNNUMBERED, None))
    return state.healthy and state.live is not None and state.live.digest == wanted


def next_release(target: str, cloud: Cloud, order: Order, state: State) -> Release:
    """The release that an order makes, with its files written."""
    there = cloud.releases() if state.present else []
    return written(target, cloud, order, max([tag.number for tag in there], default=0) + 1, state)


def written(target: str, cloud: Cloud, order: Order, number: int, state: State) -> Release:
    """A release of a number, with its files written."""
    tag = Tag(number, digest_of(cloud.files(order, UNNUMBERED, None)))
    files = cloud.files(order, tag, state.live)
    return Release(tag, files, hand_over(target, order.reference.name, files))
