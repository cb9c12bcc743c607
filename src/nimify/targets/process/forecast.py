"""What an order would change, and what stands in its way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.errors import EnvironmentProblem
from nimify.findings import Finding, Severity
from nimify.quantities import human_bytes
from nimify.serving.listener import bind
from nimify.targets.process.folder import ServiceFolder
from nimify.targets.process.revisions import Revisions, Snapshot, differences, files_of
from nimify.targets.process.settings import ProcessSettings
from nimify.targets.process.view import live_revision
from nimify.targets.state_folder import state_folder
from nimify.targets.target import Forecast, Order

_LOOPBACK: Final = ("127.", "localhost", "::1")


def machine_findings() -> tuple[Finding, ...]:
    """What this machine lacks for the process target."""
    folder = _existing(state_folder())
    if os.access(folder, os.W_OK | os.X_OK):
        return ()
    message = f"The folder for nimify's records cannot be written: '{folder}'."
    return (Finding("process.state-folder", Severity.ERROR, message, "Name another place in NIMIFY_STATE."),)


def forecast(folder: ServiceFolder, order: Order, bundle: Bundle) -> Forecast:
    """What deploying a bundle would change, and what stands in its way."""
    settings = ProcessSettings.parse(order.settings)
    files = files_of(bundle.path)
    live = live_revision(folder)
    present = None if live is None else Revisions(folder.revisions).find(live)
    findings = [*machine_findings(), *_damage(bundle), *_space(bundle, files), *_address(settings, present)]
    return Forecast(tuple(findings), tuple(_changes(files, settings, present)))


def _changes(files: dict[str, str], settings: ProcessSettings, present: Snapshot | None) -> Iterator[str]:
    where = f"{settings.host}:{settings.port}"
    if present is None:
        yield f"start on {where} with {len(files)} files of the bundle"
        return
    for how, path in differences(present.files, files):
        yield f"{how} {path}"
    old, new = present.settings.to_dict(), settings.to_dict()
    for name in new:
        if old[name] != new[name]:
            yield f"set {name} to {new[name]}, which is {old[name]}"


def _damage(bundle: Bundle) -> Iterator[Finding]:
    missing = bundle.missing_files()
    if missing:
        message = f"The bundle lacks files that nimify wrote: {', '.join(missing)}."
        yield Finding("bundle.missing-files", Severity.ERROR, message, "Make it again: nimify create MODEL --force")
    edited = bundle.edited_files()
    if edited:
        message = f"Files of the bundle were edited since nimify wrote them: {', '.join(edited)}."
        yield Finding("bundle.edited-files", Severity.WARNING, message, "Check it first: nimify validate BUNDLE")


def _space(bundle: Bundle, files: dict[str, str]) -> Iterator[Finding]:
    needed = sum((bundle.path / path).stat().st_size for path in files)
    free = shutil.disk_usage(_existing(state_folder())).free
    if needed > free:
        message = f"The copy of the bundle takes {human_bytes(needed)}, and {human_bytes(free)} are free."
        yield Finding(
            "process.disk-space", Severity.ERROR, message, "Free some, or name another place in NIMIFY_STATE."
        )


def _address(settings: ProcessSettings, present: Snapshot | None) -> Iterator[Finding]:
    for name in ("port", "grpc_port"):
        port = getattr(settings, name)
        if present is not None and (present.settings.host, getattr(present.settings, name)) == (settings.host, port):
            continue  # the supervisor has it
        try:
            bind(settings.host, port).close()
        except EnvironmentProblem as error:
            remedy = f"Choose another one with --set {name}=PORT or --set host=ADDRESS."
            yield Finding("process.address", Severity.ERROR, error.message, remedy)
    if not settings.host.startswith(_LOOPBACK):
        message = f"The service will answer anybody who reaches {settings.host}."
        remedy = "Let it ask for keys and speak TLS, or put a gateway in front of it."
        yield Finding("process.open-address", Severity.WARNING, message, remedy)


def _existing(folder: Path) -> Path:
    return folder if folder.is_dir() else _existing(folder.parent)
