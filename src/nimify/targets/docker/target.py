"""The `docker` target, as the contract has it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.errors import EnvironmentProblem, NotDeployed
from nimify.filesystem import remove_tree
from nimify.findings import Finding, Severity
from nimify.programs import ProgramFailed
from nimify.quantities import human_bytes
from nimify.targets.docker.container import Container, live_one
from nimify.targets.docker.engine import Engine, settings_of
from nimify.targets.docker.rollout import Rollout
from nimify.targets.docker.settings import DockerSettings
from nimify.targets.proof import Proofs
from nimify.targets.service_lock import only_one
from nimify.targets.target import (
    Applied,
    Deployment,
    Forecast,
    Instance,
    Order,
    Phase,
    Progress,
    Reference,
    Revision,
)
from nimify.targets.verification import unready

NAME: Final = "docker"
_STOP_S: Final = 60.0


class DockerTarget:
    """One hardened container on a Docker engine."""

    summary = "one hardened container on a Docker engine"

    def __init__(self) -> None:
        self._engine = Engine()

    def preflight(self, order: Order | None) -> Forecast:
        """See the contract."""
        machine = self._machine_findings()
        if order is None or order.bundle is None or machine:
            return Forecast(tuple(machine))
        settings = DockerSettings.parse(order.settings, order.bundle.decided())
        try:
            return Forecast(
                (*self._image_findings(order, order.bundle), *self._room_findings(settings)),
                tuple(self._changes(order, settings)),
            )
        except ProgramFailed as error:
            raise EnvironmentProblem(f"The Docker engine refuses: {error}.") from error

    def apply(self, order: Order, progress: Progress) -> Applied:
        """See the contract."""
        proofs = Proofs(NAME, order.reference.name)
        with only_one(proofs.folder):
            rollout = Rollout(self._engine, proofs, order, progress, time.monotonic() + order.timeout_s)
            try:
                if order.bundle is None:
                    changed = rollout.go_back()
                else:
                    settings = DockerSettings.parse(order.settings, order.bundle.decided())
                    changed = rollout.deploy(order.bundle, settings)
            except ProgramFailed as error:
                raise NotDeployed(f"The Docker engine refuses: {error}.") from error
        return Applied(changed, self.status(order.reference))

    def status(self, reference: Reference) -> Deployment:
        """See the contract."""
        try:
            containers = self._engine.revisions(reference.name)
        except ProgramFailed as error:
            raise EnvironmentProblem(f"The Docker engine cannot be asked: {error}.") from error
        if not containers:
            return Deployment(NAME, reference, Phase.ABSENT)
        live = live_one(containers)
        revisions = tuple(_revision(container, live) for container in reversed(containers))
        if live is None:
            # What the engine stopped for us ended well; anything else is for somebody to look at.
            return Deployment(NAME, reference, Phase.STOPPED, reason=containers[-1].reason, revisions=revisions)
        phase, reason = _health(live)
        instance = Instance(live.name, phase is Phase.RUNNING, live.status, reason, live.restarts, live.url)
        return Deployment(NAME, reference, phase, live.url, reason, (instance,), revisions)

    def remove(self, reference: Reference, progress: Progress, *, purge: bool = False) -> bool:
        """See the contract."""
        proofs = Proofs(NAME, reference.name)
        with only_one(proofs.folder):
            try:
                return self._removed(reference, proofs, progress, purge=purge)
            except ProgramFailed as error:
                raise EnvironmentProblem(f"The Docker engine refuses: {error}.") from error

    def logs(self, reference: Reference, *, lines: int, follow: bool) -> Iterator[str]:
        """See `KeepsLogs`."""
        try:
            containers = self._engine.revisions(reference.name)
            if not containers:
                raise EnvironmentProblem(f"The Docker engine has no container of '{reference.name}'.")
            chosen = live_one(containers) or containers[-1]
            yield from self._engine.logs(chosen.id, lines=lines, follow=follow)
        except ProgramFailed as error:
            raise EnvironmentProblem(f"The Docker engine cannot be asked: {error}.") from error

    def _removed(self, reference: Reference, proofs: Proofs, progress: Progress, *, purge: bool) -> bool:
        containers = self._engine.containers(reference.name)
        running = [container for container in containers if container.running]
        for container in running:
            progress(f"{container.name} finishes its requests.")
            self._engine.stop(container.id, within_s=_STOP_S)
        if purge:
            for container in containers:
                self._engine.remove(container.id)
            remove_tree(proofs.folder)
        return bool(running) or (purge and bool(containers))

    # --- preflight ----------------------------------------------------------------------------------------------

    def _machine_findings(self) -> list[Finding]:
        if self._engine.program.path is None:
            remedy = "Install it, or choose another target."
            return [Finding("docker.missing", Severity.ERROR, "There is no docker command on this machine.", remedy)]
        try:
            self._engine.version()
        except ProgramFailed as error:
            remedy = "Start the engine, or say where it is with DOCKER_HOST."
            return [
                Finding("docker.unreachable", Severity.ERROR, f"The Docker engine does not answer: {error}.", remedy)
            ]
        return []

    def _image_findings(self, order: Order, bundle: Bundle) -> Iterator[Finding]:
        if not order.image:
            remedy = "Name it with --image; nimify build makes one."
            yield Finding("docker.no-image", Severity.ERROR, "The docker target needs a container image.", remedy)
            return
        if order.image.startswith("-"):
            yield Finding("docker.no-image", Severity.ERROR, f"'{order.image}' is no image.", "Name it with --image.")
            return
        image = self._engine.image(order.image)
        if image is None:
            message = f"The engine does not have the image {order.image} yet; it will be fetched."
            yield Finding("docker.image-absent", Severity.INFO, message)
            return
        said = ((image.get("Config") or {}).get("Labels") or {}).get("io.nimify.model-digest", "")
        if said and said != bundle.service.model_digest:
            message = f"The image {order.image} holds another model ({said[:19]}) than the bundle."
            yield Finding("docker.image-model", Severity.ERROR, message, "Build it again: nimify build BUNDLE")

    def _room_findings(self, settings: DockerSettings) -> Iterator[Finding]:
        there = self._engine.memory_bytes()
        if there and settings.memory > there:
            message = f"The container may use {human_bytes(settings.memory)}, and the machine has {human_bytes(there)}."
            yield Finding("docker.memory", Severity.ERROR, message, "Lower it with --set memory=BYTES.")

    def _changes(self, order: Order, settings: DockerSettings) -> Iterator[str]:
        live = live_one(self._engine.revisions(order.reference.name))
        if live is None:
            yield f"run {order.image} on {settings.host}:{settings.port}"
            return
        image = self._engine.image(order.image) if order.image else None
        if image is not None and image.get("Id") != live.image:
            yield f"replace {live.label('reference')} by {order.image}"
        old = settings_of(live)
        for name, value in settings.to_dict().items():
            if old.get(name) != value:
                yield f"set {name} to {value}, which is {old.get(name)}"


def _health(live: Container) -> tuple[Phase, str]:
    if live.status != "running":
        return Phase.FAILED, live.reason or f"it is {live.status}"
    problem = unready(live.url) if live.url else "its port is not published"
    return (Phase.RUNNING, "") if problem is None else (Phase.FAILED, problem)


def _revision(container: Container, live: Container | None) -> Revision:
    return Revision(
        number=container.revision,
        live=live is not None and container.id == live.id,
        version=container.label("version"),
        model_digest=container.label("model-digest"),
        source=f"{container.label('reference')} ({container.image[:19]})",
        deployed_at=container.label("made-at"),
    )
