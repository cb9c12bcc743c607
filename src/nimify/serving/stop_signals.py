"""The signals that end a worker: SIGTERM asks to stop with a drain, SIGINT without one; any second one hurries."""

from __future__ import annotations

import asyncio
import signal


class StopSignals:
    """Listens to the signals from when it is made.

    Attributes:
        first: Set when the service is asked to stop.
        second: Set when it is asked to hurry.
        graceful: Whether it was asked to drain.
        name: Of the first signal.
    """

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.graceful = True
        self.name = ""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self._received, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)  # the supervisor forks us with both blocked

    def _received(self, number: signal.Signals) -> None:
        if self.first.is_set():
            self.second.set()
            return
        self.name = number.name
        self.graceful = number is signal.SIGTERM
        self.first.set()
