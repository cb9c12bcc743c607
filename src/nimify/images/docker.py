"""Docker with BuildKit, through the `docker` command and its machine-readable output."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any, Final

from nimify.errors import BuildFailed, EnvironmentProblem
from nimify.images.base_image import names_by_digest, pinned, unpinned
from nimify.images.build_call import QUICK_S, TRANSFER_S, build_arguments, platform_arguments, steps_told
from nimify.images.failures import base_missing, build_failure, push_failure
from nimify.images.image import Base, ImageRef, Progress, Recipe
from nimify.images.reference import ImageName
from nimify.images.runtime import Runtime
from nimify.programs import Program, ProgramFailed

_STEP: Final = re.compile(r"#\d+ (\[.*)")
_PUSHED: Final = re.compile(r"^\S+: digest: (sha256:[0-9a-f]{64}) size: \d+$", re.MULTILINE)
_BUILDKIT_BY_DEFAULT: Final = 23
"""From this release on the client needs buildx for BuildKit; before, it has its own."""


class DockerBuilder:
    """Docker, with the BuildKit that it brings."""

    name = "docker"

    def __init__(self) -> None:
        self._program = Program(
            "docker", environment={"DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain", "NO_COLOR": "1"}
        )

    def preflight(self) -> str:
        """See the contract."""
        if self._program.path is None:
            raise EnvironmentProblem(
                "There is no docker command on this machine.",
                remedy="Install Docker, or choose another builder with --builder buildah.",
            )
        try:
            client, server = self._program.run(
                "version", "--format", "{{.Client.Version}} {{.Server.Version}}", timeout_s=QUICK_S
            ).split()
        except (ProgramFailed, ValueError) as error:
            if isinstance(error, ProgramFailed) and error.says("permission denied"):
                remedy = "Your user may not use it; ask whoever keeps this machine, or use --builder buildah."
            else:
                remedy = "Start the engine, or say where it is with DOCKER_HOST."
            raise EnvironmentProblem(f"The Docker engine does not answer: {error}.", remedy=remedy) from error
        self._check_buildkit(client)
        return server

    def find_base(self, name: ImageName, *, platform: str) -> Base:
        """See the contract."""
        here = inspected(self._program, str(name))
        if here is not None and not _names(name, here):
            return unpinned(name, str(name), str(here["Id"]))
        try:
            self._program.run("pull", "--quiet", *platform_arguments(platform), str(name), timeout_s=TRANSFER_S)
        except ProgramFailed as error:
            if here is None:
                raise base_missing(str(name), error) from error
            return _pinned(name, here, stale=str(error))
        return _pinned(name, inspected(self._program, str(name)) or {})

    def build(self, recipe: Recipe, progress: Progress) -> ImageRef:
        """See the contract."""
        with tempfile.TemporaryDirectory(prefix="nimify-image-") as folder:
            note = Path(folder) / "id"
            arguments = ["build", *build_arguments(recipe), f"--iidfile={note}", "-"]
            try:
                self._program.follow(
                    *arguments,
                    tell=steps_told(progress, _STEP),
                    feed=recipe.context.send,
                    timeout_s=recipe.timeout_s,
                )
            except ProgramFailed as error:
                raise build_failure(error) from error
            return self._described(note.read_text(encoding="ascii").strip())

    def runtime(self, image: ImageRef) -> Runtime:
        """See the contract."""
        return Runtime(self._program, image.id)

    def tag(self, image: ImageRef, name: ImageName) -> None:
        """See the contract."""
        self._program.run("tag", image.id, str(name))

    def push(self, image: ImageRef, name: ImageName) -> str:
        """See the contract."""
        try:
            said = self._program.run("push", str(name), timeout_s=TRANSFER_S)
        except ProgramFailed as error:
            raise push_failure(str(name), error) from error
        if match := _PUSHED.search(said):
            return match[1]
        known = _names(name, inspected(self._program, image.id) or {})
        return known[0].digest if known else ""

    def _check_buildkit(self, client: str) -> None:
        major = int(client.partition(".")[0]) if client.partition(".")[0].isdigit() else 0
        if major < _BUILDKIT_BY_DEFAULT:
            return
        try:
            self._program.run("buildx", "version", timeout_s=QUICK_S)
        except ProgramFailed as error:
            raise EnvironmentProblem(
                f"This docker command ({client}) has no BuildKit: its plugin buildx is missing.",
                remedy="Install docker-buildx-plugin (Debian: docker-buildx), or use --builder buildah.",
            ) from error

    def _described(self, image_id: str) -> ImageRef:
        data = inspected(self._program, image_id)
        if data is None:
            raise BuildFailed("The builder says that it built an image, and does not have it.")
        return ImageRef(
            name="",
            id=str(data["Id"]),
            size_bytes=int(data["Size"]),
            layers=tuple(map(str, data["RootFS"]["Layers"])),
        )


def inspected(program: Program, reference: str) -> dict[str, Any] | None:
    """What an engine knows of an image; `None` when it does not have it.

    Raises:
        ProgramFailed: The engine does not answer.
    """
    try:
        found: list[dict[str, Any]] = program.json("image", "inspect", "--", reference)
    except ProgramFailed as error:
        if error.says("no such image", "no such object"):
            return None
        raise
    return found[0]


def _names(asked: ImageName, here: dict[str, Any]) -> list[ImageName]:
    return names_by_digest(asked, here.get("RepoDigests") or ())


def _pinned(asked: ImageName, here: dict[str, Any], *, stale: str = "") -> Base:
    return pinned(asked, (_names(asked, here) or [asked])[0], str(here.get("Id", "")), stale=stale)
