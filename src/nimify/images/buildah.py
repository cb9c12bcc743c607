"""buildah: builds without a daemon; what it built is proven by podman, or by a Docker engine that is given a copy."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Final

from nimify.errors import EnvironmentProblem
from nimify.images import containers_storage
from nimify.images.base_image import LOCAL, pinned, unpinned
from nimify.images.build_call import QUICK_S, TRANSFER_S, platform_arguments
from nimify.images.failures import base_missing
from nimify.images.image import Base, ImageRef, Progress, Recipe
from nimify.images.reference import ImageName
from nimify.images.runtime import Runtime
from nimify.programs import Program, ProgramFailed

_PROOF_NAME: Final = "localhost/nimify-proof"


class BuildahBuilder:
    """buildah."""

    name = "buildah"

    def __init__(self) -> None:
        self._program = Program("buildah", environment={"NO_COLOR": "1"})

    def preflight(self) -> str:
        """See the contract."""
        if self._program.path is None:
            raise EnvironmentProblem(
                "There is no buildah command on this machine.",
                remedy="Install buildah, or choose another builder with --builder docker.",
            )
        try:
            return str(self._program.json("version", "--json", timeout_s=QUICK_S)["version"])
        except (ProgramFailed, KeyError, TypeError) as error:
            raise EnvironmentProblem(
                f"buildah does not work here: {error}.", remedy="Run `buildah info` to see more."
            ) from error

    def find_base(self, name: ImageName, *, platform: str) -> Base:
        """See the contract."""
        here = self._inspect(str(name))
        if here is not None and not _came_from_registry(name, here):
            return unpinned(name, str(here.get("FromImage") or name), str(here.get("FromImageID", "")))
        pull = ["pull", "--quiet", "--policy=always", *platform_arguments(platform), str(name)]
        try:
            self._program.run(*pull, timeout_s=TRANSFER_S)
        except ProgramFailed as error:
            if here is None:
                raise base_missing(str(name), error) from error
            return _pinned(name, here, stale=str(error))
        return _pinned(name, self._inspect(str(name)) or {})

    def build(self, recipe: Recipe, progress: Progress) -> ImageRef:
        """See the contract."""
        return self._described(containers_storage.build(self._program, "--pull-never", recipe, progress))

    def runtime(self, image: ImageRef) -> Runtime:
        """See the contract."""
        podman = Program("podman")
        if podman.path is not None:
            return Runtime(podman, image.id)
        docker = Program("docker")
        if docker.path is None:
            raise _no_runtime("there is neither podman nor docker")
        name = f"{_PROOF_NAME}:{image.id.removeprefix('sha256:')[:12]}"
        with tempfile.TemporaryDirectory(prefix="nimify-proof-") as folder:
            archive = Path(folder) / "image.tar"
            try:
                self._program.run("push", "--quiet", image.id, f"docker-archive:{archive}:{name}", timeout_s=TRANSFER_S)
                docker.run("load", "--quiet", f"--input={archive}", timeout_s=TRANSFER_S)
            except ProgramFailed as error:
                raise _no_runtime(f"the Docker engine does not take it: {error}") from error
        return Runtime(docker, name, temporary=True)

    def tag(self, image: ImageRef, name: ImageName) -> None:
        """See the contract."""
        self._program.run("tag", image.id, str(name))

    def push(self, image: ImageRef, name: ImageName) -> str:
        """See the contract."""
        return containers_storage.push(self._program, image.id, name)

    def _inspect(self, reference: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._program.json("inspect", "--type=image", reference)
        except ProgramFailed as error:
            if error.says("image not known", "no such image", "not found", "locating image"):
                return None
            raise
        return found

    def _described(self, image_id: str) -> ImageRef:
        data = self._inspect(image_id) or {}
        manifest = json.loads(data["Manifest"])
        listed: list[dict[str, Any]] = self._program.json("images", "--json", "--all", "--no-trunc")
        found = str(manifest["config"]["digest"])
        return ImageRef(
            name="",
            id=found,
            size_bytes=next((_size(row) for row in listed if found.endswith(str(row["id"]))), 0),
            layers=tuple(map(str, (data["Docker"].get("rootfs") or data["OCIv1"]["rootfs"])["diff_ids"])),
        )


def _size(row: dict[str, Any]) -> int:
    """The size of an image in bytes; older releases write it for people."""
    text = str(row["size"])
    factors = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
    number, _, unit = text.partition(" ")
    return round(float(number) * factors.get(unit.upper(), 1))


def _known_as(asked: ImageName, here: dict[str, Any]) -> ImageName:
    """The name as it was asked for; when that names no registry, the first that buildah has for the image."""
    return asked if asked.registry else ImageName.parse(str(here.get("FromImage") or asked), field="base")


def _came_from_registry(asked: ImageName, here: dict[str, Any]) -> bool:
    return bool(here.get("FromImageDigest")) and _known_as(asked, here).registry not in {"", LOCAL}


def _pinned(asked: ImageName, here: dict[str, Any], *, stale: str = "") -> Base:
    found = _known_as(asked, here).pinned(str(here.get("FromImageDigest", "")))
    return pinned(asked, found, str(here.get("FromImageID", "")), stale=stale)


def _no_runtime(why: str) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"The image is built, and nothing here can start it to prove it: {why}.",
        remedy="Install podman, or leave the proof out with --no-prove.",
    )
