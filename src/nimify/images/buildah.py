"""buildah: builds without a daemon; what it built is proven by podman, or by a Docker engine that is given a copy."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from nimify.errors import EnvironmentProblem
from nimify.findings import Finding, Severity
from nimify.images.docker import build_arguments
from nimify.images.failures import base_missing, build_failure, push_failure
from nimify.images.image import Base, ImageRef, Progress, Recipe
from nimify.images.reference import ImageName
from nimify.images.runtime import Runtime
from nimify.programs import Program, ProgramFailed

_PULL_S: Final = 3600.0
_QUICK_S: Final = 20.0
_STEP: Final = re.compile(r"(?:\[\d+/\d+\] )?STEP \d+/?\d*: .*")
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
            return str(json.loads(self._program.run("version", "--json", timeout_s=_QUICK_S))["version"])
        except (ProgramFailed, ValueError, KeyError) as error:
            raise EnvironmentProblem(
                f"buildah does not work here: {error}.", remedy="Run `buildah info` to see more."
            ) from error

    def find_base(self, name: ImageName, *, platform: str) -> Base:
        """See the contract."""
        here = self._inspect(str(name))
        if here is not None and not _came_from_registry(here):
            return _local_base(name, here)
        pull = ["pull", "--quiet", "--policy=always", *([f"--platform={platform}"] if platform else []), str(name)]
        try:
            self._program.run(*pull, timeout_s=_PULL_S)
        except ProgramFailed as error:
            if here is None:
                raise base_missing(str(name), error) from error
            return _pinned(name, here, stale=str(error))
        return _pinned(name, self._inspect(str(name)) or {})

    def build(self, recipe: Recipe, progress: Progress) -> ImageRef:
        """See the contract."""
        with tempfile.TemporaryDirectory(prefix="nimify-image-") as folder:
            note, context = Path(folder) / "id", Path(folder) / "context"
            recipe.context.lay_out(context)
            arguments = [
                "build",
                *build_arguments(replace(recipe, dockerfile=str(context / recipe.dockerfile))),
                f"--iidfile={note}",
                "--layers",
                "--pull-never",
                # The format of OCI has no health check.
                "--format=docker",
                "--timestamp=0",
                str(context),
            ]
            try:
                self._program.follow(*arguments, tell=_teller(progress), timeout_s=recipe.timeout_s)
            except ProgramFailed as error:
                raise build_failure(error) from error
            return self._described(note.read_text(encoding="ascii").strip())

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
                self._program.run("push", "--quiet", image.id, f"docker-archive:{archive}:{name}", timeout_s=_PULL_S)
                docker.run("load", "--quiet", f"--input={archive}", timeout_s=_PULL_S)
            except ProgramFailed as error:
                raise _no_runtime(f"the Docker engine does not take it: {error}") from error
        return Runtime(docker, name, temporary=True)

    def tag(self, image: ImageRef, name: ImageName) -> None:
        """See the contract."""
        self._program.run("tag", image.id, str(name))

    def push(self, image: ImageRef, name: ImageName) -> str:
        """See the contract."""
        with tempfile.TemporaryDirectory(prefix="nimify-push-") as folder:
            note = Path(folder) / "digest"
            try:
                self._program.run("push", f"--digestfile={note}", image.id, f"docker://{name}", timeout_s=_PULL_S)
            except ProgramFailed as error:
                raise push_failure(str(name), error) from error
            return note.read_text(encoding="ascii").strip()

    def _inspect(self, reference: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self._program.run("inspect", "--type=image", reference))
        except ProgramFailed as error:
            if error.says("image not known", "no such image", "not found", "locating image"):
                return None
            raise
        return found

    def _described(self, image_id: str) -> ImageRef:
        data = self._inspect(image_id) or {}
        manifest = json.loads(data["Manifest"])
        listed: list[dict[str, Any]] = json.loads(self._program.run("images", "--json", "--all", "--no-trunc"))
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


def _teller(progress: Progress) -> Callable[[str], None]:
    def tell(line: str) -> None:
        if _STEP.match(line):
            progress(line)

    return tell


def _came_from_registry(here: dict[str, Any]) -> bool:
    name = str(here.get("FromImage") or "")
    return bool(here.get("FromImageDigest")) and bool(name) and not name.startswith("localhost/")


def _local_base(name: ImageName, here: dict[str, Any]) -> Base:
    image_id = str(here.get("FromImageID", ""))
    message = f"The base {name} came from no registry, so it is pinned by nothing but its id ({image_id[:12]})."
    remedy = "Push it to a registry, and name it there with --base."
    return Base(
        str(here.get("FromImage") or name),
        id=image_id,
        findings=(Finding("base.not-pinned", Severity.WARNING, message, remedy),),
    )


def _pinned(name: ImageName, here: dict[str, Any], *, stale: str = "") -> Base:
    digest = name.digest or str(here.get("FromImageDigest", ""))
    findings: tuple[Finding, ...] = ()
    if stale and not name.digest:
        message = f"The base {name} could not be looked up ({stale}); the copy on this machine is used."
        findings = (Finding("base.not-refreshed", Severity.WARNING, message, "Build again when the registry answers."),)
    full = str(here.get("FromImage") or name)
    repository = ImageName.parse(full, field="base")
    return Base(
        str(repository.pinned(digest)) if digest else str(name), digest, str(here.get("FromImageID", "")), findings
    )


def _no_runtime(why: str) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"The image is built, and nothing here can start it to prove it: {why}.",
        remedy="Install podman, or leave the proof out with --no-prove.",
    )
