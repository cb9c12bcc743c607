"""A new process takes over from one that serves, on the same sockets, and the old one ends when the new one is ready.

That is how a service of one worker is started again without losing a request. The service keeps its process id, which
is what an orchestrator, a container or a shell knows it by: when the old worker has answered its last request, its
process becomes the keeper of the new one (`keeper.py`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

from nimify.serving import launch
from nimify.serving.listener import READY
from nimify.serving.stop_signals import PassedOn, StopSignals

if TYPE_CHECKING:
    from nimify.serving.worker_context import WorkerContext

SIGNALS: Final = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What a process that watches others waits for."""
_LAST_TURN_S: Final = 0.01
NOT_REPLACED: Final = "a new process could not be started; the one that serves goes on"
TAKES_OVER: Final = "a new process takes over"


@dataclass(frozen=True, slots=True)
class Successor:
    """A process that is going to take over.

    Attributes:
        process: The process.
        ready: Something can be read from it when the process is ready, and its end when it never will be.
    """

    process: subprocess.Popen[bytes]
    ready: socket.socket

    @classmethod
    def start(cls, program: Sequence[str], sockets: Mapping[str, socket.socket]) -> Successor:
        """Start a service on sockets that are served already; it does not outlive this process.

        Raises:
            OSError: No process can be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            numbers = {name: given.fileno() for name, given in (*sockets.items(), (READY, theirs))}
            process = subprocess.Popen(
                launch.command(program, sockets=numbers, parent=os.getpid()),
                pass_fds=tuple(numbers.values()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # what a person was told at the start holds on
            )
        ours.setblocking(False)
        return cls(process, ours)


class TakenOver(Exception):
    """Another process has taken over: what this one had open is to be left in order, and then `keep` called."""

    def __init__(self, command: Callable[[], list[str]]) -> None:
        super().__init__("another process has taken over")
        self._command = command

    def keep(self) -> NoReturn:
        """Become the keeper of the process that has taken over."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # from here on they wait for the keeper
        command = self._command()  # with those that came before
        os.execv(command[0], command)  # noqa: S606 - ourselves


class Succession:
    """Has another process take over from this one, which is the whole service."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._log = context.log
        self._program = (sys.executable, *sys.orig_argv[1:])
        self._sockets: dict[str, socket.socket] = {}
        self._successor: Successor | None = None
        self._held: list[signal.Signals] = []

    async def begun(self, stop: StopSignals) -> bool:
        """Start a process and wait until it is ready; false when it does not get so far, or is to stop before."""
        if self._context.settings.triton is not None:
            self._log.warning("not restarted: Triton holds its ports", remedy="Start the service again.")
            return False
        self._log.info("restarting", signal=signal.SIGHUP.name)
        # This process closes its own when it accepts no more; these are for the keeper.
        sockets = {name: listener.dup() for name, listener in self._context.listeners.items()}
        try:
            successor = Successor.start(self._program, sockets)
        except OSError as error:
            self._log.error(NOT_REPLACED, reason=error.strerror)
            _close(sockets)
            return False
        if not await _is_ready(successor, stop.first):
            successor.process.kill()
            code = await asyncio.to_thread(successor.process.wait)
            successor.ready.close()
            _close(sockets)
            if not stop.first.is_set():
                self._log.error(NOT_REPLACED, exit_code=code)
            return False
        self._log.info(TAKES_OVER, pid=successor.process.pid)
        self._sockets, self._successor = sockets, successor
        passed_on = PassedOn()

        def tell(number: signal.Signals) -> None:
            with suppress(ProcessLookupError):
                os.kill(successor.process.pid, passed_on.number(number))

        stop.pass_on(tell)
        return True

    async def hold_signals(self, stop: StopSignals) -> None:
        """Keep signals for the keeper: the event loop that would have received them is going to end.

        They are noted, and not blocked: a thread that does not block them would take them, and they would be lost.

        Args:
            stop: What the event loop has received, among it whether to restart once more.
        """
        if self._successor is None:
            return
        await asyncio.sleep(_LAST_TURN_S)  # what came since the loop last turned would be forgotten with its handlers
        self._held += [signal.SIGHUP] if stop.restart.is_set() else []
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
            signal.signal(number, lambda received, _: self._held.append(signal.Signals(received)))

    def keeper(self) -> TakenOver | None:
        """What this process is to become, if another one has taken over."""
        return None if self._successor is None else TakenOver(partial(self._command, self._successor))

    def _command(self, successor: Successor) -> list[str]:
        settings = self._context.settings
        for listener in self._sockets.values():
            os.set_inheritable(listener.fileno(), True)
        descriptors = [str(listener.fileno()) for listener in self._sockets.values()]
        form = "json" if settings.json_logs else "text"
        held = ":".join(number.name for number in self._held)
        names = ":".join(self._sockets)
        arguments = [settings.log_level, form, held, str(successor.process.pid), names, *descriptors]
        return [sys.executable, "-m", "nimify.serving.keeper", *arguments, "--", *self._program]


async def _is_ready(successor: Successor, stop: asyncio.Event) -> bool:
    told = asyncio.create_task(asyncio.get_running_loop().sock_recv(successor.ready, 16))
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({told, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if told not in done:
        told.cancel()
        return False
    try:
        return bool(told.result())
    except OSError:
        return False


def _close(sockets: Mapping[str, socket.socket]) -> None:
    for listener in sockets.values():
        listener.close()
