"""Orders to a service's supervisor, which is started when there is none."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from typing import Final

from nimify.errors import EnvironmentProblem
from nimify.serving.spec import ServiceSpec
from nimify.targets.process.folder import Report, ServiceFolder, Wanted
from nimify.targets.process.revisions import Revisions, Snapshot

_POLL_S: Final = 0.05
_START_S: Final = 20.0
_SPARE_S: Final = 10.0
"""Beyond what a service allows itself for its end."""


def go_live(folder: ServiceFolder, snapshot: Snapshot, *, within_s: float) -> Report:
    """Let a revision answer, and wait until its predecessor is gone.

    Returns:
        What the supervisor reports; with `failure` when the revision did not come up, and then nothing changed.

    Raises:
        EnvironmentProblem: There is no supervisor, and none can be started.
    """
    limits = ServiceSpec.load(Revisions(folder.revisions).bundle(snapshot.number)).limits
    leave_s = limits.drain_s + limits.shutdown_grace_s + _SPARE_S
    wanted = Wanted(_next(folder), snapshot.number, snapshot.settings, within_s, leave_s)
    return _carried_out(folder, wanted, within_s + leave_s + _SPARE_S)


def stop(folder: ServiceFolder) -> None:
    """Stop a service, and wait until it and its supervisor are gone.

    Raises:
        EnvironmentProblem: It does not end.
    """
    previous = folder.wanted()
    if previous is None:
        return
    wanted = replace(previous, sequence=previous.sequence + 1, revision=None)
    folder.order(wanted)
    _await_end(folder, previous.leave_within_s + _SPARE_S)


def _next(folder: ServiceFolder) -> int:
    previous = folder.wanted()
    return 1 if previous is None else previous.sequence + 1


def _carried_out(folder: ServiceFolder, wanted: Wanted, within_s: float) -> Report:
    report = folder.report()
    if folder.supervised and report is not None and report.state in {"stopping", "stopped"}:
        _await_end(folder, wanted.leave_within_s)
    folder.order(wanted)
    if not folder.supervised:
        _start_supervisor(folder)
    deadline = time.monotonic() + within_s
    while True:
        report = folder.report()
        if report is not None and report.sequence == wanted.sequence:
            return report
        if not folder.supervised and (folder.report() or report) == report:
            raise EnvironmentProblem(
                f"The supervisor of '{folder.name}' ended.", remedy=f"Look into '{folder.supervisor_log}'."
            )
        if time.monotonic() > deadline:
            raise EnvironmentProblem(
                f"The supervisor of '{folder.name}' does not answer.", remedy=f"Look into '{folder.supervisor_log}'."
            )
        time.sleep(_POLL_S)


def _start_supervisor(folder: ServiceFolder) -> None:
    """Start one that outlives this process, and wait until it has its lock."""
    with folder.supervisor_log.open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", "nimify.targets.process.supervisor", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            timeout=_START_S,
            check=False,
        )
    deadline = time.monotonic() + _START_S
    while not folder.supervised:
        report, wanted = folder.report(), folder.wanted()
        if report is not None and wanted is not None and report.sequence == wanted.sequence:
            return  # it had its say and went already, because what was ordered cannot be done
        if time.monotonic() > deadline:
            raise EnvironmentProblem(
                f"The supervisor of '{folder.name}' did not start.", remedy=f"Look into '{folder.supervisor_log}'."
            )
        time.sleep(_POLL_S)


def _await_end(folder: ServiceFolder, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while folder.supervised:
        if time.monotonic() > deadline:
            raise EnvironmentProblem(
                f"'{folder.name}' does not stop.", remedy=f"Look into '{folder.supervisor_log}', or end it by kill."
            )
        time.sleep(_POLL_S)
