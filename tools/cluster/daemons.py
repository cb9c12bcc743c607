"""Daemons: started in the background, known by process id and start time, and ended politely first."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.cluster.journal import Journal

_READY_S: Final = 90.0
_GRACE_S: Final = 5.0
_TAIL: Final = 3000


class DaemonFailed(Exception):
    """A daemon ended, or did not do in time what it is for."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """One program of the cluster.

    Attributes:
        name: Of the program; its log bears it, too.
        command: Its argument list.
        environment: Set over ours.
    """

    name: str
    command: list[str]
    environment: Mapping[str, str]


def start(daemon: Daemon, journal: Journal, logs: Path) -> None:
    """Start a daemon that outlives us, and write down who it is."""
    with (logs / f"{daemon.name}.log").open("ab") as log:
        process = subprocess.Popen(
            daemon.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **daemon.environment},
            start_new_session=True,
        )
    journal.note("daemon", daemon.name, process.pid, _started(process.pid))
    process.returncode = 0  # it is not waited for, and Popen would complain of that


def await_that(what: str, holds: Callable[[], bool], journal: Journal, logs: Path) -> None:
    """Wait until something holds.

    Raises:
        DaemonFailed: A daemon ended meanwhile, or it never did.
    """
    deadline_s = time.monotonic() + _READY_S
    while not holds():
        latest = {name: (process, started) for name, process, started in reversed(journal.entries("daemon"))}
        for name, (process, started) in latest.items():
            if started and not is_alive(process, started):
                raise DaemonFailed(f"{name} ended.\n{_tail(logs / f'{name}.log')}")
        if time.monotonic() > deadline_s:
            raise DaemonFailed(f"{what}: not within {_READY_S:g} seconds; the logs lie in {logs}.")
        time.sleep(0.1)


def stop_all(journal: Journal) -> None:
    """End every daemon, all at the same time: their state goes with them, so nothing is lost by that."""
    daemons = [(process, started) for _, process, started in journal.entries("daemon")]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process, started in daemons:
            if is_alive(process, started):
                with suppress(ProcessLookupError):
                    os.kill(process, number)
        deadline_s = time.monotonic() + _GRACE_S
        while any(is_alive(*daemon) for daemon in daemons) and time.monotonic() < deadline_s:
            time.sleep(0.05)


def crash(name: str, journal: Journal) -> None:
    """End a daemon as a crash would; it is not missed until it is started again."""
    for found, process, started in journal.entries("daemon"):
        if found == name and is_alive(process, started):
            os.kill(process, signal.SIGKILL)
            while is_alive(process, started):
                time.sleep(0.05)
            journal.note("daemon", name, process, "")


def is_alive(process: int, started: str) -> bool:
    """Whether a process runs, and is not another one with the same id."""
    return bool(started) and _started(process) == started


def _started(process: int) -> str:
    """When a process started, in ticks since the boot; empty when it has ended."""
    with suppress(ChildProcessError):
        os.waitpid(process, os.WNOHANG)  # one that we started ourselves would stay as a zombie
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        threads = len(list(Path(f"/proc/{process}/task").iterdir()))
    except OSError:
        return ""
    # The first thread of a process that is killed may be gone while others still hold its sockets.
    return "" if fields[0] == "Z" and threads == 1 else fields[19]


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-_TAIL:] if log.exists() else ""
