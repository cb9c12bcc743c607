"""What the process of a service of one worker is from its first restart by signal on.

    python -m nimify.serving.keeper LEVEL FORM SIGNALS PID NAMES DESCRIPTORS... -- PROGRAM...

It has the process id by which the service is known, holds the sockets, and serves nothing: that is done by its child.
SIGHUP has another child take over, SIGTERM and SIGINT are passed on, and when the child ends, so does the service: as
when its only process does.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from nimify.serving.logs import Log
from nimify.serving.stop_signals import PassedOn
from nimify.serving.succession import NOT_REPLACED, SIGNALS, TAKES_OVER, Successor

_LOOK_EVERY_S: Final = 0.05
"""How often is looked whether a new child is ready."""


class Keeper:
    """Keeps one child serving until it ends.

    Args:
        child: The process that serves.
        sockets: What it serves, by name.
        program: The command line of the next one.
        log: Where it says what it does.
        held: Signals that came before it was there.
    """

    def __init__(
        self,
        child: int,
        sockets: Mapping[str, socket.socket],
        program: Sequence[str],
        log: Log,
        held: Sequence[signal.Signals] = (),
    ) -> None:
        self._child = child
        self._sockets = sockets
        self._program = program
        self._log = log
        self._held = held
        self._next: Successor | None = None
        self._stopping = False
        self._passed_on = PassedOn()

    def run(self) -> int:
        """The exit code of the service."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number in self._held:
            self._received(number)
        while True:
            code = self._reap()
            if code is not None:
                return code
            if self._next is not None:
                self._look(self._next)
            received = signal.sigtimedwait(SIGNALS, _LOOK_EVERY_S if self._next is not None else 1.0)
            if received is not None:
                self._received(signal.Signals(received.si_signo))

    def _received(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP:
            self._restart()
        elif number is not signal.SIGCHLD:
            self._stopping = True
            number = self._passed_on.number(number)
            for pid in (self._child, *(() if self._next is None else (self._next.process.pid,))):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _restart(self) -> None:
        if self._stopping or self._next is not None:
            self._log.warning("not restarted: the service is stopping, or restarting already")
            return
        self._log.info("restarting", signal=signal.SIGHUP.name)
        try:
            self._next = Successor.start(self._program, self._sockets)
        except OSError as error:
            self._log.error(NOT_REPLACED, reason=error.strerror)

    def _look(self, successor: Successor) -> None:
        """Have the next child take over when it is ready."""
        try:
            told = successor.ready.recv(16)
        except BlockingIOError:
            return
        except OSError:
            told = b""
        successor.ready.close()
        self._next = None
        if not told:
            self._give_up(successor)
            return
        self._log.info(TAKES_OVER, pid=successor.process.pid)
        leaving, self._child = self._child, successor.process.pid
        with suppress(ProcessLookupError):
            os.kill(leaving, signal.SIGHUP)

    def _give_up(self, successor: Successor) -> None:
        successor.process.kill()
        code = successor.process.wait()
        if not self._stopping:
            self._log.error(NOT_REPLACED, exit_code=code)

    def _reap(self) -> int | None:
        """The exit code of the child, if it has ended; others that have are children that were replaced."""
        while True:
            pid = 0
            with suppress(ChildProcessError):
                pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return None
            if self._next is not None and pid == self._next.process.pid:
                self._next.process.returncode = os.waitstatus_to_exitcode(status)
            if pid == self._child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code


def main(arguments: Sequence[str]) -> int:
    """Keep the service going; its exit code."""
    level, form, held, child, names, *rest = arguments
    split = rest.index("--")
    listeners = [socket.socket(fileno=int(descriptor)) for descriptor in rest[:split]]
    sockets = dict(zip(names.split(":"), listeners, strict=True))
    log = Log(level, json_lines=form == "json")
    numbers = [signal.Signals[name] for name in held.split(":") if name]
    return Keeper(int(child), sockets, rest[split + 1 :], log, numbers).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
