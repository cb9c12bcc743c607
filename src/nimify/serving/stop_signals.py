"""The signals of a worker: SIGTERM asks to stop with a drain, SIGINT without one; any second one hurries.

SIGHUP asks for a new process in the place of this one.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Final

OTHER: Final = {signal.SIGTERM: signal.SIGINT, signal.SIGINT: signal.SIGTERM}
"""The signals that end a service, each with the one that hurries a process which may not have seen the first yet:
another of the same number would be lost on it."""


class PassedOn:
    """What the signals of a service become on their way to its processes."""

    def __init__(self) -> None:
        self._first: signal.Signals | None = None

    def number(self, received: signal.Signals) -> signal.Signals:
        """The signal to pass on for one that was received."""
        again = received is self._first
        self._first = self._first or received
        return OTHER[received] if again else received


class StopSignals:
    """Listens to the signals from when it is made.

    Attributes:
        first: Set when the service is asked to stop.
        second: Set when it is asked to hurry.
        graceful: Whether it was asked to drain.
        restart: Set when another process shall take over, or has.
        name: Of the first signal.
    """

    def __init__(self, *, restarts: bool) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.restart = asyncio.Event()
        self.graceful = True
        self.name = ""
        self._received_numbers: list[signal.Signals] = []
        self._tell: Callable[[signal.Signals], None] | None = None
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self._received, number)
        if restarts:
            loop.add_signal_handler(signal.SIGHUP, self._restart_asked)
        signal.pthread_sigmask(
            signal.SIG_UNBLOCK, (*numbers, signal.SIGHUP)
        )  # the supervisor forks us with all blocked

    def pass_on(self, tell: Callable[[signal.Signals], None]) -> None:
        """Tell somebody else, too, of each signal that ends a service: at once, and of those that have come already."""
        self._tell = tell
        for number in self._received_numbers:
            tell(number)

    def _restart_asked(self) -> None:
        self.name = self.name or signal.SIGHUP.name
        self.restart.set()

    def _received(self, number: signal.Signals) -> None:
        self._received_numbers.append(number)
        if self._tell is not None:
            self._tell(number)
        if self.first.is_set():
            self.second.set()
            return
        self.name = number.name
        self.graceful = number is signal.SIGTERM
        self.first.set()


def hangup_restarts() -> bool:
    """Whether SIGHUP asks for a restart here: not in a terminal, whose end it tells, and not under `nohup`."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return False
    try:
        return not sys.stdin.isatty()
    except (AttributeError, ValueError):  # there is none, or it is closed
        return True
