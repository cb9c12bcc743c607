"""The Docker engine, through the `docker` command and its machine-readable output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from nimify.images.build_call import TRANSFER_S
from nimify.images.docker import inspected
from nimify.programs import Program, ProgramFailed
from nimify.targets.docker.container import SERVICE, Container, Recipe

_SPARE_S: Final = 30.0
_TAIL: Final = 20
_LOOKS: Final = 5


@dataclass(frozen=True, slots=True)
class Engine:
    """A Docker engine: the one that `docker` talks to (DOCKER_HOST, DOCKER_CONTEXT).

    Every method raises `ProgramFailed` with the engine's words.
    """

    program: Program = field(default_factory=lambda: Program("docker"))

    def version(self) -> str:
        """The version of the engine."""
        return self.program.run("version", "--format", "{{.Server.Version}}", timeout_s=15.0).strip()

    def memory_bytes(self) -> int:
        """Memory of the engine's machine."""
        return int(self.program.run("info", "--format", "{{.MemTotal}}", timeout_s=15.0).strip() or 0)

    def image(self, reference: str) -> dict[str, Any] | None:
        """What the engine knows of an image; `None` when it does not have it."""
        return inspected(self.program, reference)

    def pull(self, reference: str) -> None:
        """Fetch an image."""
        self.program.run("pull", "--quiet", "--", reference, timeout_s=TRANSFER_S)

    def containers(self, service: str) -> list[Container]:
        """The containers of a service, by revision."""
        for left in reversed(range(_LOOKS)):
            ids = self.program.run(
                "ps", "--all", "--no-trunc", "--quiet", f"--filter=label={SERVICE}={service}"
            ).split()
            if not ids:
                return []
            try:
                described: list[dict[str, Any]] = self.program.json("inspect", "--type=container", "--", *ids)
                break
            except ProgramFailed:
                if not left:  # one that was listed may be gone already: another deployment goes on
                    raise
        return sorted((Container.read(data) for data in described), key=lambda container: container.revision)

    def revisions(self, service: str) -> list[Container]:
        """The containers of a service that are more than a trial, by revision."""
        return [container for container in self.containers(service) if not container.trial]

    def create(self, recipe: Recipe) -> str:
        """Make a container; its id."""
        return self.program.run(*recipe.arguments(), timeout_s=120.0).strip()

    def start(self, container: str) -> None:
        """Start it."""
        self.program.run("start", "--", container, timeout_s=120.0)

    def stop(self, container: str, *, within_s: float) -> None:
        """Stop it with SIGTERM, and wait."""
        self.program.run("stop", f"--time={within_s:.0f}", "--", container, timeout_s=within_s + _SPARE_S)

    def remove(self, container: str) -> None:
        """Remove it, whether it runs or not."""
        self.program.run("rm", "--force", "--volumes", "--", container, timeout_s=60.0)

    def inspect(self, container: str) -> Container:
        """What the engine says of it."""
        return Container.read(self.program.json("inspect", "--type=container", "--", container)[0])

    def tail(self, container: str) -> tuple[str, ...]:
        """The last lines that it wrote."""
        try:
            return tuple(self.program.lines("logs", f"--tail={_TAIL}", "--", container))
        except ProgramFailed:
            return ()

    def logs(self, container: str, *, lines: int, follow: bool) -> Iterator[str]:
        """What it wrote last, and goes on to write."""
        options = [f"--tail={lines}", *(["--follow"] if follow else [])]
        return self.program.lines("logs", *options, "--", container)


def settings_of(container: Container) -> dict[str, Any]:
    """The settings that a container was made with."""
    try:
        data: dict[str, Any] = json.loads(container.label("settings"))
    except ValueError:
        return {}
    return data
