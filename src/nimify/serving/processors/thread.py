"""Where the owner's processors run: one thread, and a queue before it in which whoever is nearly done goes first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

_Work = Callable[[], Any]
_Done = Callable[["asyncio.Future[Any]"], None]


class ProcessorThread:
    """Runs work one after the other; used from the event loop's thread only.

    Attributes:
        waiting: How many requests wait for their first steps.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(1, "nimify-processors")
        self._first: deque[tuple[_Work, _Done]] = deque()
        self._last: deque[tuple[_Work, _Done]] = deque()
        self._busy = False

    def begin(self, work: _Work, done: _Done) -> None:
        """Run the steps before the engine; `done` gets the settled future on the event loop."""
        self._last.append((work, done))
        self._next()

    def complete(self, work: _Work, done: _Done) -> None:
        """Run the steps after the engine: before all steps of requests that have not begun."""
        self._first.append((work, done))
        self._next()

    def _next(self) -> None:
        queue = self._first or self._last
        if queue and not self._busy:
            self._busy = True
            work, done = queue.popleft()
            self._loop.run_in_executor(self._executor, work).add_done_callback(partial(self._ended, done))
        self.waiting = len(self._last)

    def _ended(self, done: _Done, future: asyncio.Future[Any]) -> None:
        self._busy = False
        self._next()
        done(future)
