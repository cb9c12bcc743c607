"""The folder of one service of the process target: orders to its supervisor, the supervisor's report, logs, revisions.

wanted.json       the last order, written by the command
report.json       what the supervisor made of it, written by the supervisor
supervisor.lock   held by the supervisor for as long as it lives
logs/             of the service, and of the supervisor
revisions/        one folder each; see `revisions.py`
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from nimify.targets.process.settings import ProcessSettings
from nimify.targets.service_lock import only_one
from nimify.targets.state_folder import checked_name, private_folder, read_json, state_folder, write_json

_PROBES_S: Final = 5.0
"""How long a supervisor tries for its lock: somebody may be asking at that moment whether it is held."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An order to the supervisor.

    Attributes:
        sequence: Counts the orders; a report names the last one that is settled.
        revision: What is to answer; `None` to stop.
        settings: Where and how.
        ready_within_s: How long it may take to load.
        leave_within_s: How long its predecessor may take to finish.
    """

    sequence: int
    revision: int | None
    settings: ProcessSettings = field(default_factory=ProcessSettings)
    ready_within_s: float = 120.0
    leave_within_s: float = 60.0

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Wanted:
        """The inverse of `asdict`."""
        return cls(**{**data, "settings": ProcessSettings.from_dict(data["settings"])})


@dataclass(frozen=True, slots=True)
class Report:
    """How things are, as the supervisor last wrote it.

    Attributes:
        pid: The supervisor's process.
        sequence: The last order that is settled, whether it was carried out or failed.
        state: `starting`, `switching`, `running`, `restarting`, `stopping` or `stopped`.
        live: The revision that answers; `None` when none does, and none should.
        url: Where it answers.
        instance: Its process; 0 when there is none.
        restarts: How often it was started again since it went live.
        failure: Why the last order could not be carried out; empty when it was.
        trouble: Why the live revision does not answer; empty when it does.
        evidence: The last lines of whatever failed.
    """

    pid: int
    sequence: int
    state: str
    live: int | None = None
    url: str = ""
    instance: int = 0
    restarts: int = 0
    failure: str = ""
    trouble: str = ""
    evidence: list[str] = field(default_factory=list)


class ServiceFolder:
    """The folder of one service.

    Attributes:
        path: It.
        name: Of the service.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.revisions = path / "revisions"
        self.log = path / "logs" / "service.log"
        self.supervisor_log = path / "logs" / "supervisor.log"
        self._wanted = path / "wanted.json"
        self._report = path / "report.json"
        self._supervisor_lock = path / "supervisor.lock"

    @classmethod
    def of(cls, name: str) -> ServiceFolder:
        """The folder of a service, which need not exist yet."""
        return cls(state_folder() / "process" / checked_name(name))

    def make(self) -> None:
        """Make it, with the folders in it, where it is missing."""
        for folder in (self.path.parent.parent, self.path.parent, self.path, self.revisions, self.log.parent):
            private_folder(folder)

    # --- the command's side -------------------------------------------------------------------------------------

    @contextmanager
    def ours(self) -> Iterator[None]:
        """Be the only one who changes this service; the holder's death ends it.

        Raises:
            NotDeployed: Somebody else is at it.
        """
        self.make()
        with only_one(self.path):
            yield

    def order(self, wanted: Wanted) -> None:
        """Leave an order for the supervisor, and wake it."""
        write_json(self._wanted, asdict(wanted))
        report = self.report()
        if report is not None and self.supervised:
            with suppress(ProcessLookupError):
                os.kill(report.pid, signal.SIGHUP)

    @property
    def supervised(self) -> bool:
        """Whether the supervisor lives."""
        try:
            descriptor = os.open(self._supervisor_lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    # --- both sides ---------------------------------------------------------------------------------------------

    def wanted(self) -> Wanted | None:
        """The last order; `None` before the first."""
        data = read_json(self._wanted)
        return None if data is None else Wanted.from_dict(data)

    def report(self) -> Report | None:
        """The last report; `None` before the first."""
        data = read_json(self._report)
        return None if data is None else Report(**data)

    # --- the supervisor's side ----------------------------------------------------------------------------------

    def write_report(self, report: Report) -> None:
        """Say how things are."""
        write_json(self._report, asdict(report))

    def hold_supervisor_lock(self) -> bool:
        """Hold the supervisor's lock to the end of this process; `False` when another one has it."""
        descriptor = os.open(self._supervisor_lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _PROBES_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    return False
                time.sleep(0.02)
