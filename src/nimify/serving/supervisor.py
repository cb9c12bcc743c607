"""Several workers on one socket: started, watched, replaced when they die, and stopped together.

The supervisor itself serves nothing and loads nothing heavy. Workers are forked from it, so they share its listening
socket and its metrics memory. One that dies is replaced, sooner or later depending on how often that happens; one that
cannot even start ends the service, because its successor could not start either.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from nimify.errors import NimifyError
from nimify.serving.lifecycle import State
from nimify.serving.parent import die_with_parent
from nimify.serving.worker import EXIT_UNFINISHED
from nimify.serving.worker_context import WorkerContext

_STABLE_S: Final = 10.0
"""A worker that lived this long died of something new: its replacement starts at once."""
_LONGEST_PAUSE_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.5
_EXIT_BUG: Final = 70
_OTHER: Final = {signal.SIGTERM: signal.SIGINT, signal.SIGINT: signal.SIGTERM}
_SIGNALS: Final = (signal.SIGCHLD, *_OTHER)


class Supervisor:
    """Runs `context.workers` copies of a worker."""

    def __init__(self, context: WorkerContext, run: Callable[[WorkerContext], int]) -> None:
        self._context = context
        self._run_worker = run
        self._log = context.log
        self._slots: dict[int, int] = {}
        self._started_s: dict[int, float] = {}
        self._pauses_s: dict[int, float] = {}
        self._due_s: dict[int, float] = {}
        self._ever_ready = False
        self._stopping = False
        self._first: signal.Signals | None = None
        self._exit_code = 0

    def run(self) -> int:
        """Serve until a signal ends it; the exit code."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        for slot in range(self._context.workers):
            self._start(slot, replacement=False)
        while self._slots or (self._due_s and not self._stopping):
            self._wait()
            self._start_due()
        return self._exit_code

    def _wait(self) -> None:
        """Sleep until a signal comes or a replacement is due."""
        now_s = time.monotonic()
        timeout_s = min([1.0, *(max(0.0, due_s - now_s) for due_s in self._due_s.values())])
        received = signal.sigtimedwait(_SIGNALS, timeout_s)
        if received is not None and received.si_signo in _OTHER:
            self._tell(signal.Signals(received.si_signo))
        self._reap()

    def _tell(self, number: signal.Signals) -> None:
        """Pass on that the service is to stop, or, the second time, to hurry.

        The second time it is the other signal, whichever came: a worker that was too busy to see the first one yet
        would not notice another of the same number.
        """
        again = self._first is not None and number is self._first
        self._first = self._first or number
        self._stopping = True
        self._forward(_OTHER[number] if again else number)

    def _forward(self, number: signal.Signals) -> None:
        for pid in self._slots:
            os.kill(pid, number)

    def _reap(self) -> None:
        while self._slots:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            slot = self._slots.pop(pid, None)
            if slot is not None:
                self._ended(slot, os.waitstatus_to_exitcode(status))

    def _ended(self, slot: int, code: int) -> None:
        if self._stopping:
            # A worker that was killed took what it was answering with it.
            self._exit_code = self._exit_code or (code if code >= 0 else EXIT_UNFINISHED)
            return
        self._ever_ready = self._ever_ready or max(self._context.registry.states) > State.STARTING
        if not self._ever_ready:
            self._log.error("a worker could not start; stopping", worker=slot, exit_code=code)
            self._stopping = True
            self._exit_code = code if code > 0 else _EXIT_BUG
            self._forward(signal.SIGINT)
            return
        lived_s = time.monotonic() - self._started_s[slot]
        pause_s = 0.0 if lived_s >= _STABLE_S else self._pauses_s.get(slot, 0.0)
        self._pauses_s[slot] = min(max(pause_s * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self._due_s[slot] = time.monotonic() + pause_s
        self._log.error("a worker died; replacing it", worker=slot, cause=_cause(code), after_s=pause_s)

    def _start_due(self) -> None:
        now_s = time.monotonic()
        for slot in [slot for slot, due_s in self._due_s.items() if due_s <= now_s]:
            del self._due_s[slot]
            if not self._stopping:
                self._start(slot, replacement=True)

    def _start(self, slot: int, *, replacement: bool) -> None:
        with suppress(OSError):  # a full disk keeps what was said; the worker must be started all the same
            sys.stdout.flush()
            sys.stderr.flush()
        pid = os.fork()
        if pid:
            self._slots[pid] = slot
            self._started_s[slot] = time.monotonic()
            return
        code = _EXIT_BUG
        try:
            die_with_parent()
            os.setpgid(0, 0)  # a terminal's Ctrl-C reaches the supervisor only, which passes it on once
            # The others stay blocked until the worker has its handlers: an early one waits and is not lost.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            code = self._run_worker(replace(self._context, slot=slot, replacement=replacement))
        except NimifyError as error:
            self._log.error(str(error), worker=slot)
            code = error.exit_code
        except BaseException as error:  # noqa: BLE001 - a forked child must never return into its parent's code
            self._log.exception("worker failed", error, worker=slot)
        finally:
            os._exit(code)


def _cause(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
