"""A Helm release, through `helm` and its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nimify.programs import Program, ProgramFailed

_HELM_S: Final = 300.0
_KEPT: Final = 10
_PENDING: Final = "pending-"


@dataclass(frozen=True, slots=True)
class ReleaseRevision:
    """One row of a release's history.

    Attributes:
        number: Of the revision.
        status: In Helm's words: `deployed`, `superseded`, `failed`, `pending-upgrade`, `uninstalled`.
        updated: When.
        description: What we wrote there.
        version: Release of the service.
    """

    number: int
    status: str
    updated: str
    description: str
    version: str


@dataclass(frozen=True, slots=True)
class Release:
    """A release in a namespace. Every method raises `ProgramFailed` with Helm's words.

    Attributes:
        name: Of the release, and of the service.
        namespace: Empty for that of the current context.
        program: `helm`.
    """

    name: str
    namespace: str = ""
    program: Program = field(default_factory=lambda: Program("helm"))

    def version(self) -> str:
        """The version of Helm, e.g. `v4.2.4`."""
        return self.program.run("version", "--template={{.Version}}").strip()

    def history(self) -> list[ReleaseRevision]:
        """Its revisions, the oldest first; none when there is no release."""
        try:
            rows = self._json("history", self.name, "--output=json")
        except ProgramFailed as error:
            if error.says("not found"):
                return []
            raise
        return [
            ReleaseRevision(
                number=int(row["revision"]),
                status=str(row["status"]),
                updated=str(row["updated"]),
                description=str(row.get("description", "")),
                version=str(row.get("app_version", "")),
            )
            for row in rows
        ]

    def rendered(self, chart: Path, values: Mapping[str, str], settings: Mapping[str, str]) -> str:
        """The manifests that an upgrade would apply, with what the chart looks up on the API server."""
        given = _given(values, settings)
        options = ["--install", "--dry-run=server", "--hide-secret", "--output=json"]
        try:
            return str(self._json("upgrade", self.name, str(chart), *options, *given)["manifest"])
        except ProgramFailed as error:
            if not error.says("another operation"):
                raise
        # Whoever was killed in the middle of an upgrade left a lock, which does not keep anybody from looking.
        options = ["--is-upgrade", "--dry-run=server", "--no-hooks"]
        return self._run("template", self.name, str(chart), *options, *given)

    def manifest(self) -> str:
        """The manifests of the live revision; empty when there is none."""
        try:
            return self._run("get", "manifest", self.name)
        except ProgramFailed as error:
            if error.says("not found"):
                return ""
            raise

    def upgrade(
        self,
        chart: Path,
        values: Mapping[str, str],
        settings: Mapping[str, str],
        *,
        description: str,
        new_namespace: bool = False,
    ) -> int:
        """Apply the chart on the server, without waiting for what becomes of it; the new revision.

        A namespace that is there is left alone: Helm would apply it, too, which takes more rights than a deployer has.
        """
        options = [
            *(["--create-namespace"] if new_namespace else []),
            "--install",
            "--server-side=true",
            f"--history-max={_KEPT}",
            f"--description={description}",
            "--output=json",
        ]
        found = self._json("upgrade", self.name, str(chart), *options, *_given(values, settings))
        return int(found["version"])

    def rollback(self, revision: int) -> None:
        """Apply an earlier revision again, as a new one."""
        self._run("rollback", self.name, str(revision), f"--history-max={_KEPT}")

    def uninstall(self, *, keep_history: bool) -> None:
        """Remove everything that the release made."""
        options = ["--keep-history"] if keep_history else []
        self._run("uninstall", self.name, "--ignore-not-found", "--wait", *options)

    def _run(self, *arguments: str) -> str:
        return self.program.run(*self._namespaced(arguments), timeout_s=_HELM_S)

    def _json(self, *arguments: str) -> Any:
        return self.program.json(*self._namespaced(arguments), timeout_s=_HELM_S)

    def _namespaced(self, arguments: tuple[str, ...]) -> tuple[str, ...]:
        return (*arguments, f"--namespace={self.namespace}") if self.namespace else arguments


def _given(values: Mapping[str, str], settings: Mapping[str, str]) -> list[str]:
    """Ours are text as they stand; the user's are read as Helm reads them."""
    ours = [f"--set-literal={key}={value}" for key, value in values.items()]
    return [*ours, *(f"--set={key}={value}" for key, value in settings.items())]


def good(history: list[ReleaseRevision]) -> list[ReleaseRevision]:
    """The revisions that were deployed and can be returned to, the oldest first."""
    return [revision for revision in history if revision.status in {"deployed", "superseded", "uninstalled"}]


def stuck(history: list[ReleaseRevision]) -> bool:
    """Whether a Helm that was killed left the release in the middle of something, which locks it."""
    return bool(history) and history[-1].status.startswith(_PENDING)
