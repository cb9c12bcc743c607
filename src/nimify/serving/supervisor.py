"""Several workers on one socket: started, watched, replaced when they die or shall be new, and stopped together.

The supervisor itself serves nothing and loads nothing heavy. Workers are forked from it, so they share its listening
socket and its metrics memory. One that dies is replaced, sooner or later depending on how often that happens; one that
cannot even start ends the service, because its successor could not start either.

SIGHUP has all of them replaced, one after the other: a new one takes over when it is ready to, and only then its
predecessor is told to leave, in the same way. So there is never more than one more than there should be, and one that
cannot start costs nobody anything.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from nimify.errors import NimifyError
from nimify.serving.lifecycle import State
from nimify.serving.parent import die_with_parent
from nimify.serving.stop_signals import OTHER, PassedOn, hangup_restarts
from nimify.serving.succession import SIGNALS
from nimify.serving.worker import EXIT_UNFINISHED
from nimify.serving.worker_context import WorkerContext

_STABLE_S: Final = 10.0
"""A worker that lived this long died of something new: its replacement starts at once."""
_LONGEST_PAUSE_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.5
_EXIT_BUG: Final = 70
_LOOK_EVERY_S: Final = 0.05
"""How often is looked whether a worker that shall take over is ready."""


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
        self._numbers = {slot: slot for slot in range(context.workers)}
        self._spare_slot = context.workers
        self._old: deque[int] = deque()
        """Who is still to be replaced."""
        self._incoming: int | None = None
        self._outgoing: int | None = None
        """Whom the incoming worker takes over from; none when that one has died meanwhile."""
        self._leaving: int | None = None
        self._ever_ready = False
        self._stopping = False
        self._signals: tuple[signal.Signals, ...] = SIGNALS
        self._passed_on = PassedOn()
        self._exit_code = 0

    def run(self) -> int:
        """Serve until a signal ends it; the exit code."""
        if not (self._context.told_ready is not None or hangup_restarts()):
            self._signals = tuple(number for number in SIGNALS if number is not signal.SIGHUP)
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        for slot in range(self._context.workers):
            self._start(slot)
        while self._slots or (self._due_s and not self._stopping):
            self._wait()
            self._start_due()
            self._replace_old()
        return self._exit_code

    def _wait(self) -> None:
        """Sleep until a signal comes or a replacement is due."""
        now_s = time.monotonic()
        longest_s = 1.0 if self._incoming is None else _LOOK_EVERY_S
        timeout_s = min([longest_s, *(max(0.0, due_s - now_s) for due_s in self._due_s.values())])
        received = signal.sigtimedwait(self._signals, timeout_s)
        if received is not None and received.si_signo in OTHER:
            self._tell(signal.Signals(received.si_signo))
        elif received is not None and received.si_signo == signal.SIGHUP:
            self._restart()
        self._reap()

    def _tell(self, number: signal.Signals) -> None:
        """Pass on that the service is to stop, or, the second time, to hurry."""
        # Who leaves finishes already what is in flight: only a second signal hurries it.
        self._forward(self._passed_on.number(number), spared=None if self._stopping else self._leaving)
        self._stopping = True

    def _forward(self, number: signal.Signals, *, spared: int | None = None) -> None:
        for pid in self._slots:
            if pid != spared:
                os.kill(pid, number)

    # --- all new, one after the other ---------------------------------------------------------------------------

    def _restart(self) -> None:
        if self._context.told_ready is not None:  # who started this process has another one, which has taken over
            self._forward(signal.SIGHUP)
            self._stopping = True
        elif self._stopping or not self._was_ever_ready():
            self._log.warning("not restarted: the service is starting or stopping")
        else:
            self._log.info("restarting", signal=signal.SIGHUP.name, workers=self._context.workers)
            # Who is being replaced already is so by one that may have looked at the files before they changed.
            self._old.extend(pid for pid in self._slots if pid not in {*self._old, self._outgoing, self._leaving})

    def _replace_old(self) -> None:
        """Go on with the replacement of workers, as far as that is possible now."""
        if self._stopping:
            return
        if self._incoming is not None:
            if self._context.registry.states[self._slots[self._incoming]] == State.READY:
                self._incoming, self._leaving, self._outgoing = None, self._outgoing, None
                if self._leaving is not None:
                    os.kill(self._leaving, signal.SIGHUP)
                elif not self._old:
                    self._tell_restarted()
        elif self._leaving is None and self._old:
            outgoing = self._old.popleft()
            if outgoing in self._slots:
                self._outgoing = outgoing
                slot = self._slots[outgoing]
                self._numbers[self._spare_slot] = self._numbers[slot]
                self._incoming = self._start(self._spare_slot, predecessor=slot)
            if not self._old and self._incoming is None:
                self._tell_restarted()

    def _tell_restarted(self) -> None:
        self._log.info("restarted", workers=self._context.workers)

    def _ended_while_replacing(self, pid: int, slot: int, code: int) -> bool:
        """Take note of the end of a worker that takes part in a replacement; whether it did."""
        is_restarted = pid == self._leaving and not self._old
        if pid == self._leaving:
            self._leaving = None
            if code:
                self._log.warning("a worker that was replaced ended badly", worker=self._numbers[slot], code=code)
        elif pid == self._outgoing:
            self._outgoing = None
            self._log.error("a worker died while it was being replaced", worker=self._numbers[slot], cause=_cause(code))
        elif pid == self._incoming:
            self._incoming = None
            self._old.clear()
            self._log.error(
                "a worker could not be replaced; those that serve go on", worker=self._numbers[slot], exit_code=code
            )
            if self._outgoing is None:  # there is one too few now: in its slot, as when it had died without all this
                self._due_s[slot] = time.monotonic() + _FIRST_PAUSE_S
                return True
            self._outgoing = None
        else:
            return False
        self._context.registry.vacate(slot)
        self._spare_slot = slot
        if is_restarted:
            self._tell_restarted()
        return True

    # --- the ends of workers ------------------------------------------------------------------------------------

    def _reap(self) -> None:
        while self._slots:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            slot = self._slots.pop(pid, None)
            if slot is not None:
                self._ended(pid, slot, os.waitstatus_to_exitcode(status))

    def _was_ever_ready(self) -> bool:
        states = self._context.registry.states
        self._ever_ready = self._ever_ready or any(State.STARTING < state <= State.READY for state in states)
        return self._ever_ready

    def _ended(self, pid: int, slot: int, code: int) -> None:
        if self._stopping:
            # A worker that was killed took what it was answering with it.
            self._exit_code = self._exit_code or (code if code >= 0 else EXIT_UNFINISHED)
            return
        if not self._was_ever_ready():
            self._log.error("a worker could not start; stopping", worker=self._numbers[slot], exit_code=code)
            self._stopping = True
            self._exit_code = code if code > 0 else _EXIT_BUG
            self._forward(signal.SIGINT)
            return
        if self._ended_while_replacing(pid, slot, code):
            return
        lived_s = time.monotonic() - self._started_s[slot]
        pause_s = 0.0 if lived_s >= _STABLE_S else self._pauses_s.get(slot, 0.0)
        self._pauses_s[slot] = min(max(pause_s * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self._due_s[slot] = time.monotonic() + pause_s
        self._log.error("a worker died; replacing it", worker=self._numbers[slot], cause=_cause(code), after_s=pause_s)

    def _start_due(self) -> None:
        now_s = time.monotonic()
        for slot in [slot for slot, due_s in self._due_s.items() if due_s <= now_s]:
            del self._due_s[slot]
            if not self._stopping:
                self._start(slot, replacement=True)

    def _start(self, slot: int, *, replacement: bool = False, predecessor: int | None = None) -> int:
        with suppress(OSError):  # a full disk keeps what was said; the worker must be started all the same
            sys.stdout.flush()
            sys.stderr.flush()
        pid = os.fork()
        if pid:
            self._slots[pid] = slot
            self._started_s[slot] = time.monotonic()
            return pid
        code = _EXIT_BUG
        try:
            die_with_parent()
            os.setpgid(0, 0)  # a terminal's Ctrl-C reaches the supervisor only, which passes it on once
            # The others stay blocked until the worker has its handlers: an early one waits and is not lost.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            code = self._run_worker(
                replace(
                    self._context,
                    slot=slot,
                    number=self._numbers[slot],
                    replacement=replacement,
                    predecessor=predecessor,
                )
            )
        except NimifyError as error:
            self._log.error(str(error), worker=self._numbers[slot])
            code = error.exit_code
        except BaseException as error:  # noqa: BLE001 - a forked child must never return into its parent's code
            self._log.exception("worker failed", error, worker=self._numbers[slot])
        finally:
            os._exit(code)


def _cause(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
