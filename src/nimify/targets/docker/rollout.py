"""From an order to a container that answers: tried first, put in the place of the old one, proven, and undone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.conformance.authorization import key_in
from nimify.errors import ConfigError, LeftDegraded, NotDeployed, RolledBack
from nimify.programs import ProgramFailed
from nimify.targets.docker.container import Container, Recipe, live_one
from nimify.targets.docker.engine import Engine, settings_of
from nimify.targets.docker.settings import DockerSettings
from nimify.targets.going_back import former_revision
from nimify.targets.proof import Proofs
from nimify.targets.target import Order, Progress, utc_now
from nimify.targets.verification import Unfit, unready, verify

KEPT: Final = 5
_LEAST_S: Final = 1.0
_POLL_S: Final = 0.2
_STOP_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Rollout:
    """One order to one service, whose lock the caller holds.

    Attributes:
        engine: Where.
        proofs: Of the service.
        order: What is to run.
        progress: Told what happens.
        deadline_s: By when it must be done, by the monotonic clock.
    """

    engine: Engine
    proofs: Proofs
    order: Order
    progress: Progress
    deadline_s: float

    def deploy(self, bundle: Bundle, settings: DockerSettings) -> bool:
        """Let an image answer for a bundle; `False` when it does already.

        Raises:
            NotDeployed, RolledBack, LeftDegraded: See the target's contract.
        """
        containers = self._tidied()
        live = live_one(containers)
        recipe = self._recipe(bundle, settings, max((found.revision for found in containers), default=0) + 1)
        if live is not None and self._is_that(live, recipe):
            return False
        self._try(recipe, bundle)
        new = self._created(recipe)
        self.proofs.keep(recipe.revision, bundle)
        try:
            self._replace(live, new, recipe.revision, bundle)
        except (NotDeployed, RolledBack):
            self._discard(new, recipe.revision)
            raise
        return True

    def go_back(self) -> bool:
        """Let the container of an earlier revision answer again; `False` when it does already.

        Raises:
            ConfigError: There is no such revision.
            NotDeployed, RolledBack, LeftDegraded: See the target's contract.
        """
        containers = self._tidied()
        live = live_one(containers)
        there = {container.revision: container for container in containers}
        former = there[former_revision(self.order, list(there), live=None if live is None else live.revision)]
        if live is not None and live.id == former.id:
            return False
        self._replace(live, former.id, former.revision, self.proofs.find(former.revision))
        return True

    # --- steps --------------------------------------------------------------------------------------------------

    def _recipe(self, bundle: Bundle, settings: DockerSettings, revision: int) -> Recipe:
        service, reference = bundle.service, self.order.image
        image = self.engine.image(reference)
        if image is None:
            self.progress(f"The image {reference} is fetched.")
            self.engine.pull(reference)
            image = self.engine.image(reference) or {"Id": reference}
        return Recipe(
            service=service.name,
            revision=revision,
            image=str(image["Id"]),
            reference=reference,
            version=service.version,
            model_digest=service.model_digest,
            made_at=utc_now(),
            settings=settings,
        )

    def _is_that(self, live: Container, recipe: Recipe) -> bool:
        same = live.image == recipe.image and settings_of(live) == recipe.settings.to_dict()
        return same and live.label("model-digest") == recipe.model_digest and bool(live.url) and not unready(live.url)

    def _try(self, recipe: Recipe, bundle: Bundle) -> None:
        """Run it where nobody else asks; what fails there never gets a request."""
        self.progress(f"Revision {recipe.revision} is tried on a port of its own.")
        with self._passing(replace(recipe, trial=True)) as container:
            try:
                self.engine.start(container)
                self._prove(container, bundle)
            except (Unfit, ProgramFailed, ConfigError) as error:
                raise NotDeployed(
                    f"Revision {recipe.revision} of '{recipe.service}' failed its trial, and nothing changed. {error}",
                    evidence=self.engine.tail(container),
                ) from error
        self.progress(f"Revision {recipe.revision} answers the golden requests as recorded.")

    @contextmanager
    def _passing(self, recipe: Recipe) -> Iterator[str]:
        container = self._created(recipe)
        try:
            yield container
        finally:
            with suppress(ProgramFailed):
                self.engine.remove(container)

    def _created(self, recipe: Recipe) -> str:
        try:
            return self.engine.create(recipe)
        except ProgramFailed as error:
            raise NotDeployed(
                f"The container of '{recipe.service}' cannot be made, and nothing changed. {error}"
            ) from error

    def _replace(self, live: Container | None, new: str, revision: int, bundle: Bundle | None) -> None:
        """Stop the one and start the other: a port belongs to one container at a time."""
        name = self.order.reference.name
        if live is not None:
            self.progress(f"Revision {live.revision} finishes its requests, and revision {revision} takes its port.")
            self.engine.stop(live.id, within_s=_STOP_S)
        try:
            self.engine.start(new)
            self._prove(new, bundle)
        except (Unfit, ProgramFailed, ConfigError) as error:
            self._undo(live, new, f"Revision {revision} of '{name}' did not come up. {error}")
        self.progress(f"Revision {revision} is live on {self.engine.inspect(new).url}.")

    def _undo(self, live: Container | None, failed: str, why: str) -> None:
        """Start the old one again, and raise what says so."""
        evidence = self.engine.tail(failed)
        with suppress(ProgramFailed):
            self.engine.stop(failed, within_s=_LEAST_S)
        if live is None:
            raise NotDeployed(f"{why} Nothing ran before.", evidence=evidence)
        self.progress(f"Revision {live.revision} comes back.")
        try:
            self.engine.start(live.id)
            self._prove(live.id, self.proofs.find(live.revision))
        except (Unfit, ProgramFailed, ConfigError) as error:
            remedy = f"Look at it with: nimify logs {self.order.reference.name}"
            message = f"{why} Revision {live.revision} did not come back: {error}"
            raise LeftDegraded(message, remedy=remedy, evidence=evidence) from error
        raise RolledBack(f"{why} Revision {live.revision} answers again.", evidence=evidence)

    def _prove(self, container: str, bundle: Bundle | None) -> None:
        """Wait until it answers, and hold it to its bundle; stops early when it ended.

        Raises:
            Unfit: It does not.
        """
        deadline = max(time.monotonic() + _LEAST_S, self.deadline_s)
        while True:
            described = self.engine.inspect(container)
            if described.status not in {"running", "created"} or described.restarts:
                raise Unfit(described.reason or f"it is {described.status}")
            problem = unready(described.url) if described.url else "its port is not published"
            if problem is None:
                break
            if time.monotonic() > deadline:
                raise Unfit(f"it was not ready in time: {problem}")
            time.sleep(_POLL_S)
        if bundle is None:
            self.progress("Its golden requests are not on this machine; it says itself that it is ready.")
        else:
            verify(described.url, bundle, within_s=_LEAST_S, headers=self._key(described))

    def _key(self, container: Container) -> Mapping[str, str]:
        """What lets the proof of a container in: what was ordered, or one of the keys that it accepts.

        Raises:
            ConfigError: Its keys cannot be read.
        """
        keys = settings_of(container).get("api_keys")
        return self.order.headers or (key_in(Path(keys)) if keys else {})

    # --- what is kept -------------------------------------------------------------------------------------------

    def _tidied(self) -> list[Container]:
        """The containers of the service, less what killed deployments and older ones left behind."""
        containers = self.engine.containers(self.order.reference.name)
        kept = [container for container in containers if not container.trial]
        live = live_one(kept)
        old = [container for container in kept if live is None or container.id != live.id]
        # One that was made and never started belongs to a deployment that was killed.
        doomed = [container for container in old if container.status == "created"]
        doomed += [container for container in old if container.status != "created"][:-KEPT]
        for container in [*(container for container in containers if container.trial), *doomed]:
            self._discard(container.id, 0 if container.trial else container.revision)
        return [container for container in kept if container not in doomed]

    def _discard(self, container: str, revision: int) -> None:
        with suppress(ProgramFailed):
            self.engine.remove(container)
        if revision:
            self.proofs.discard(revision)
