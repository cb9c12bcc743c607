"""Where the engine runs.

A hop to another thread and back costs some twenty microseconds, several times what a tiny model takes: such a model
runs on the event loop. A model that takes longer would hold up the loop, and runs on a thread of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

from nimify.serving.batching import Run

Result = TypeVar("Result")

_Task = tuple[Run, Callable[[Run], None], Callable[[Run], None]]


class InlineRunner:
    """Runs on the event loop, at once."""

    def start(self, run: Run, execute: Callable[[Run], None], done: Callable[[Run], None]) -> None:
        """See `Runner.start`."""
        execute(run)
        done(run)

    def stop(self) -> None:
        """See `Runner.stop`; there is nothing to free."""


class ThreadRunner:
    """Runs on one thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="nimify-engine", daemon=True)
        self._thread.start()

    def start(self, run: Run, execute: Callable[[Run], None], done: Callable[[Run], None]) -> None:
        """See `Runner.start`."""
        self._tasks.put((run, execute, done))

    def stop(self) -> None:
        """See `Runner.stop`; ends the thread."""
        self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            run, execute, done = task
            execute(run)
            try:
                self._loop.call_soon_threadsafe(done, run)
            except RuntimeError:  # the loop was closed meanwhile: nobody waits for the answer
                return


async def on_a_thread(work: Callable[[], Result]) -> Result:
    """What `work` returns or raises; it runs on a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(settled: Callable[[], None]) -> None:
        if not future.done():  # nobody may wait any more
            settled()

    def run() -> None:
        settled: Callable[[], None]
        try:
            settled = partial(future.set_result, work())
        except Exception as error:  # noqa: BLE001 - handed over whole, to be raised where it is awaited
            settled = partial(future.set_exception, error)
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, settled)

    threading.Thread(target=run, name="nimify-load", daemon=True).start()
    return await future
