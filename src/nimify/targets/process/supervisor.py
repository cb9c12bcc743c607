"""Keeps one service running: `python -m nimify.targets.process.supervisor FOLDER`.

It holds the listening socket and starts `nimify serve` on it, again when that dies. It reads orders from the service's
folder and writes a report there. A new revision is started beside the live one, on the same socket; when it says that
it accepts connections, the live one is told to finish. A connection that nobody accepts yet waits in the socket's
queue, so neither a switch nor a restart refuses any.

Nothing heavy is loaded here, and the end of this process, however it comes, is the end of the service.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from nimify.errors import NimifyError
from nimify.targets.process.folder import Report, ServiceFolder, Wanted
from nimify.targets.process.instance import Instance
from nimify.targets.process.log_file import LogFile
from nimify.targets.process.place import Place
from nimify.targets.process.revisions import Revisions
from nimify.targets.process.settings import ProcessSettings

_TICK_S: Final = 1.0
_POLL_S: Final = 0.05
_STABLE_S: Final = 10.0
"""One that lived this long died of something new: it is started again at once."""
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0


class Supervisor:
    """Keeps one service running until it is told to stop.

    Args:
        folder: Of the service.
    """

    def __init__(self, folder: ServiceFolder) -> None:
        self._folder = folder
        self._revisions = Revisions(folder.revisions)
        self._log = LogFile(folder.log)
        self._selector = selectors.DefaultSelector()
        self._order = Wanted(sequence=-1, revision=None)
        self._settled = -1
        self._place: Place | None = None
        self._next_place: Place | None = None
        self._live_revision: int | None = None
        self._live: Instance | None = None
        self._candidate: Instance | None = None
        self._leaving: dict[int, tuple[Instance, float]] = {}
        self._due_s: float | None = None
        self._pause_s = 0.0
        self._restarts = 0
        self._failure = ""
        self._trouble = ""
        self._evidence: list[str] = []
        self._told_to_stop = False
        self._stopping = False
        self._written: Report | None = None

    def run(self) -> None:
        """Work until there is nothing left to supervise."""
        wake = self._waking_signals()
        try:
            while True:
                self._look_for_order()
                self._read_logs()
                self._look_after_leaving()
                self._look_after_candidate()
                self._look_after_live()
                self._settle()
                self._tell()
                if self._idle:
                    return
                self._wait(wake)
        finally:
            wake.close()

    # --- orders -------------------------------------------------------------------------------------------------

    def _look_for_order(self) -> None:
        wanted = self._folder.wanted()
        if self._told_to_stop and not self._stopping:
            self._stop()
        if self._stopping or wanted is None or wanted.sequence <= self._order.sequence:
            return
        self._order = wanted
        self._failure, self._evidence = "", []
        self._drop_candidate()
        if wanted.revision is None:
            self._stop()
        else:
            self._start_candidate(wanted.revision, wanted.settings)

    def _stop(self) -> None:
        """Stop the live revision: with SIGINT, because no load balancer need notice first."""
        self._stopping = True
        self._drop_candidate()
        if self._live is not None:
            self._leave(self._live, signal.SIGINT)
        if self._place is not None:
            self._place.close()  # who connects from now on is refused at once, and does not wait in vain
        self._place, self._live, self._live_revision, self._due_s = None, None, None, None

    def _start_candidate(self, revision: int, settings: ProcessSettings) -> None:
        try:
            self._next_place = Place.open(settings, self._place)
        except NimifyError as error:
            self._failure = str(error)
            return
        self._candidate = self._start(revision, self._next_place)

    def _start(self, revision: int, place: Place) -> Instance:
        arguments = ("serve", str(self._revisions.bundle(revision)), *place.settings.options())
        instance = Instance.start(revision, arguments, place.descriptors)
        self._selector.register(instance.pipe, selectors.EVENT_READ)
        return instance

    # --- what became of the processes ---------------------------------------------------------------------------

    def _look_after_candidate(self) -> None:
        candidate = self._candidate
        if candidate is None:
            return
        if candidate.ready:
            self._switch(candidate)
        elif candidate.ended:
            self._refuse(candidate, candidate.last_words)
        elif candidate.lived_s > self._order.ready_within_s:
            self._refuse(candidate, f"it was not ready within {self._order.ready_within_s:.0f} seconds")

    def _switch(self, candidate: Instance) -> None:
        """Let the candidate be the live one: it accepts already, so its predecessor may go."""
        if self._live is not None:
            self._leave(self._live, signal.SIGTERM)
        if self._place is not None:
            self._place.close(but=self._next_place)
        self._place, self._next_place, self._candidate = self._next_place, None, None
        self._live, self._live_revision = candidate, candidate.revision
        self._restarts, self._pause_s, self._due_s, self._trouble = 0, 0.0, None, ""

    def _refuse(self, candidate: Instance, why: str) -> None:
        self._failure = why
        self._evidence = list(candidate.tail)
        self._drop_candidate()

    def _drop_candidate(self) -> None:
        if self._candidate is not None:
            self._candidate.signal(signal.SIGKILL)
            self._candidate.process.wait()
            self._let_go(self._candidate)
            self._candidate = None
        if self._next_place is not None:
            self._next_place.close(but=self._place)
            self._next_place = None

    def _look_after_live(self) -> None:
        live = self._live
        if live is not None and live.ended:
            self._mourn(live)
        if live is not None and live.ready:
            self._trouble = ""
        if self._due_s is not None and time.monotonic() >= self._due_s:
            self._due_s = None
            if self._place is not None and self._live_revision is not None:
                self._live = self._start(self._live_revision, self._place)

    def _mourn(self, live: Instance) -> None:
        """The live one died: it starts again, later each time unless it had lived for a while."""
        pause_s = 0.0 if live.lived_s >= _STABLE_S else self._pause_s
        self._pause_s = min(max(pause_s * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self._due_s = time.monotonic() + pause_s
        self._restarts += 1
        self._trouble = f"the process died ({live.last_words}); it starts again in {pause_s:g} s"
        self._evidence = list(live.tail)
        self._let_go(live)
        self._live = None

    def _leave(self, instance: Instance, number: signal.Signals) -> None:
        instance.signal(number)
        self._leaving[instance.pid] = (instance, time.monotonic() + self._order.leave_within_s)

    def _look_after_leaving(self) -> None:
        for instance, deadline_s in list(self._leaving.values()):
            if instance.ended:
                del self._leaving[instance.pid]
                self._let_go(instance)
            elif time.monotonic() > deadline_s:
                instance.signal(signal.SIGKILL)

    def _let_go(self, instance: Instance) -> None:
        self._log.write(instance.read())
        self._selector.unregister(instance.pipe)
        instance.close()

    # --- telling ------------------------------------------------------------------------------------------------

    @property
    def _idle(self) -> bool:
        return not self._leaving and self._candidate is None and self._live is None and self._due_s is None

    def _settle(self) -> None:
        """An order is settled when nothing of it is under way any more."""
        if self._candidate is None and not self._leaving:
            self._settled = self._order.sequence

    @property
    def _state(self) -> str:
        if self._stopping or self._live_revision is None:
            return "stopped" if self._idle else "stopping" if self._stopping else "starting"
        if self._candidate is not None or self._leaving:
            return "switching"
        return "running" if self._live is not None and self._live.ready else "restarting"

    def _tell(self) -> None:
        report = Report(
            pid=os.getpid(),
            sequence=self._settled,
            state=self._state,
            live=self._live_revision,
            url="" if self._place is None else self._place.url,
            instance=0 if self._live is None else self._live.pid,
            restarts=self._restarts,
            failure=self._failure,
            trouble=self._trouble,
            evidence=self._evidence,
        )
        if report != self._written:
            with suppress(OSError):  # a full disk ends no service; the next round tries again
                self._folder.write_report(report)
                self._written = report

    # --- waiting ------------------------------------------------------------------------------------------------

    def _waking_signals(self) -> socket.socket:
        """Let signals end a wait: SIGHUP brings an order, SIGCHLD a death, SIGTERM and SIGINT the end."""
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        self._writer = writer
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        self._selector.register(reader, selectors.EVENT_READ)
        return reader

    def _end(self, _number: int, _frame: object) -> None:
        self._told_to_stop = True

    def _wait(self, wake: socket.socket) -> None:
        busy = self._candidate is not None or self._leaving or self._due_s is not None
        self._selector.select(_POLL_S if busy else _TICK_S)
        with suppress(BlockingIOError):
            while wake.recv(64):
                pass

    def _read_logs(self) -> None:
        for instance in (self._live, self._candidate, *(leaving for leaving, _ in self._leaving.values())):
            if instance is not None:
                content = instance.read()
                if content:
                    self._log.write(content)


def main(folder: Path) -> None:
    """Leave the command that started us, and supervise."""
    if os.fork():
        os._exit(0)
    place = ServiceFolder(folder)
    if place.hold_supervisor_lock():
        Supervisor(place).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
