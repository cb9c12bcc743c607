"""podman: builds without a daemon, and starts what it built itself."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from nimify.errors import BuildFailed, EnvironmentProblem
from nimify.images import containers_storage
from nimify.images.base_image import LOCAL, names_by_digest, pinned, unpinned
from nimify.images.build_call import QUICK_S, TRANSFER_S, platform_arguments
from nimify.images.failures import base_missing
from nimify.images.image import Base, ImageRef, Progress, Recipe
from nimify.images.reference import ImageName
from nimify.images.runtime import Runtime
from nimify.programs import Program, ProgramFailed


class PodmanBuilder:
    """podman."""

    name = "podman"

    def __init__(self) -> None:
        self._program = Program("podman", environment={"NO_COLOR": "1"})

    def preflight(self) -> str:
        """See the contract."""
        if self._program.path is None:
            raise EnvironmentProblem(
                "There is no podman command on this machine.",
                remedy="Install podman, or choose another builder with --builder docker.",
            )
        try:
            # `version` answers where nothing can be stored, too.
            return str(self._program.json("info", "--format=json", timeout_s=QUICK_S)["version"]["Version"])
        except (ProgramFailed, KeyError, TypeError) as error:
            raise EnvironmentProblem(
                f"podman does not work here: {error}.", remedy="Run `podman info` to see more."
            ) from error

    def find_base(self, name: ImageName, *, platform: str) -> Base:
        """See the contract."""
        here = self._inspect(str(name))
        if here is not None and all(known.registry == LOCAL for known in _names(name, here)):
            return unpinned(name, str(name), f"sha256:{here['Id']}")
        try:
            self._pull(name, platform)
        except ProgramFailed as error:
            if here is None:
                raise base_missing(str(name), error) from error
            return pinned(name, _names(name, here)[0], f"sha256:{here['Id']}", stale=str(error))
        here = self._inspect(str(name)) or {}
        return pinned(name, self._in_registry(_names(name, here), platform), f"sha256:{here.get('Id', '')}")

    def build(self, recipe: Recipe, progress: Progress) -> ImageRef:
        """See the contract."""
        image_id = containers_storage.build(self._program, "--pull=never", recipe, progress)
        data = self._inspect(image_id)
        if data is None:
            raise BuildFailed("podman says that it built an image, and does not have it.")
        return ImageRef(
            name="",
            id=f"sha256:{data['Id']}",
            size_bytes=int(data["Size"]),
            layers=tuple(map(str, data["RootFS"]["Layers"])),
        )

    def runtime(self, image: ImageRef) -> Runtime:
        """See the contract."""
        return Runtime(self._program, image.id)

    def tag(self, image: ImageRef, name: ImageName) -> None:
        """See the contract."""
        self._program.run("tag", image.id, str(name))

    def push(self, image: ImageRef, name: ImageName) -> str:
        """See the contract."""
        return containers_storage.push(self._program, image.id, name)

    def _pull(self, name: ImageName, platform: str) -> None:
        self._program.run("pull", "--quiet", *platform_arguments(platform), str(name), timeout_s=TRANSFER_S)

    def _in_registry(self, names: list[ImageName], platform: str) -> ImageName:
        """The one that the registry has: podman lists every digest of an image under each of its names."""
        *others, last = names
        for name in others:
            with suppress(ProgramFailed):
                self._pull(name, platform)
                return name
        return last

    def _inspect(self, reference: str) -> dict[str, Any] | None:
        try:
            found: list[dict[str, Any]] = self._program.json("image", "inspect", "--", reference)
        except ProgramFailed as error:
            if error.says("image not known", "no such image"):
                return None
            raise
        return found[0]


def _names(asked: ImageName, here: dict[str, Any]) -> list[ImageName]:
    """The names by digest of an image; those of every repository when a short name was found in none of its own."""
    known = here.get("RepoDigests") or ()
    return names_by_digest(asked, known) or [ImageName.parse(text, field="digest") for text in known]
