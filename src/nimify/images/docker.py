"""Docker with BuildKit, through the `docker` command and its machine-readable output."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Final

from nimify.errors import BuildFailed, EnvironmentProblem
from nimify.findings import Finding, Severity
from nimify.images.failures import base_missing, build_failure, push_failure
from nimify.images.image import Base, ImageRef, Progress, Recipe
from nimify.images.reference import ImageName
from nimify.images.runtime import Runtime
from nimify.programs import Program, ProgramFailed

_PULL_S: Final = 3600.0
_QUICK_S: Final = 20.0
_STEP: Final = re.compile(r"#\d+ (\[.*)")
_BUILDKIT_BY_DEFAULT: Final = 23
"""From this release on the client needs buildx for BuildKit; before, it has its own."""
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


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
                "version", "--format", "{{.Client.Version}} {{.Server.Version}}", timeout_s=_QUICK_S
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
        here = self._inspect(str(name))
        if here is not None and not here.get("RepoDigests"):
            return _local_base(name, str(here["Id"]))
        try:
            self._program.run("pull", "--quiet", *_platform(platform), str(name), timeout_s=_PULL_S)
        except ProgramFailed as error:
            if here is None:
                raise base_missing(str(name), error) from error
            return _pinned(name, here, stale=str(error))
        return _pinned(name, self._inspect(str(name)) or {})

    def build(self, recipe: Recipe, progress: Progress) -> ImageRef:
        """See the contract."""
        with tempfile.TemporaryDirectory(prefix="nimify-image-") as folder:
            note = Path(folder) / "id"
            arguments = ["build", *build_arguments(recipe), f"--iidfile={note}", "-"]
            try:
                self._program.follow(
                    *arguments, tell=_teller(progress), feed=_sender(recipe), timeout_s=recipe.timeout_s
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
            self._program.run("push", str(name), timeout_s=_PULL_S)
        except ProgramFailed as error:
            raise push_failure(str(name), error) from error
        digests = [ImageName.parse(text, field="digest") for text in (self._inspect(image.id) or {})["RepoDigests"]]
        return next((found.digest for found in digests if found.repository == name.repository), "")

    def _check_buildkit(self, client: str) -> None:
        major = int(client.partition(".")[0]) if client.partition(".")[0].isdigit() else 0
        if major < _BUILDKIT_BY_DEFAULT:
            return
        try:
            self._program.run("buildx", "version", timeout_s=_QUICK_S)
        except ProgramFailed as error:
            raise EnvironmentProblem(
                f"This docker command ({client}) has no BuildKit: its plugin buildx is missing.",
                remedy="Install docker-buildx-plugin (Debian: docker-buildx), or use --builder buildah.",
            ) from error

    def _inspect(self, reference: str) -> dict[str, Any] | None:
        try:
            found: list[dict[str, Any]] = json.loads(self._program.run("image", "inspect", reference))
        except ProgramFailed as error:
            if error.says("no such image", "no such object"):
                return None
            raise
        return found[0]

    def _described(self, image_id: str) -> ImageRef:
        data = self._inspect(image_id)
        if data is None:
            raise BuildFailed("The builder says that it built an image, and does not have it.")
        return ImageRef(
            name="",
            id=str(data["Id"]),
            size_bytes=int(data["Size"]),
            layers=tuple(map(str, data["RootFS"]["Layers"])),
        )


def build_arguments(recipe: Recipe) -> list[str]:
    """The arguments that docker and buildah have in common."""
    return [
        f"--file={recipe.dockerfile}",
        f"--build-arg=BASE={recipe.base}",
        # Without a value each takes that of our environment, and leaves no trace in the image.
        *(f"--build-arg={name}" for name in _PROXIES),
        *(f"--label={key}={value}" for key, value in recipe.labels.items()),
        *(f"--secret=id={name},src={path}" for name, path in recipe.secrets.items()),
        *_platform(recipe.platform),
        *([f"--network={recipe.network}"] if recipe.network else []),
    ]


def _platform(platform: str) -> Sequence[str]:
    return [f"--platform={platform}"] if platform else []


def _teller(progress: Progress) -> Callable[[str], None]:
    """Passes on the lines that say which step is next."""

    def tell(line: str) -> None:
        if match := _STEP.match(line):
            progress(match[1])

    return tell


def _sender(recipe: Recipe) -> Callable[[IO[bytes]], None]:
    return recipe.context.send


def _local_base(name: ImageName, image_id: str) -> Base:
    message = f"The base {name} came from no registry, so it is pinned by nothing but its id ({image_id[:19]})."
    remedy = "Push it to a registry, and name it there with --base."
    return Base(str(name), id=image_id, findings=(Finding("base.not-pinned", Severity.WARNING, message, remedy),))


def _pinned(name: ImageName, here: dict[str, Any], *, stale: str = "") -> Base:
    known = [ImageName.parse(text, field="digest") for text in here.get("RepoDigests") or ()]
    digest = name.digest or next((found.digest for found in known), "")
    findings: tuple[Finding, ...] = ()
    if stale and not name.digest:
        message = f"The base {name} could not be looked up ({stale}); the copy on this machine is used."
        findings = (Finding("base.not-refreshed", Severity.WARNING, message, "Build again when the registry answers."),)
    repository = known[0] if known else name
    return Base(str(repository.pinned(digest)) if digest else str(name), digest, str(here.get("Id", "")), findings)
