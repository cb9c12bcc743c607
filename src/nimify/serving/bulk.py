"""Work that would hold up the event loop: large bodies are read, written and (de)compressed on threads beside it.

What runs here must let go of the interpreter's lock now and then (see `give_way`), or it holds up the loop all the
same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from nimify.serving.faults import RequestFault, detached

Result = TypeVar("Result")

LARGE_BYTES: Final = 64 * 1024
"""From here on a body of JSON is no work for the event loop: reading it takes some three milliseconds."""
LARGE_RAW_BYTES: Final = 1 << 20
"""The same for raw tensors, which are copied at most."""
_THREADS: Final = 2


class Bulk:
    """Runs work on a few threads; used from the event loop's thread only."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._executor: ThreadPoolExecutor | None = None

    def run(
        self, work: Callable[[], Result], done: Callable[[Result], Any], failed: Callable[[Exception], Any]
    ) -> None:
        """Run `work` on a thread, then call `done` or `failed` on the event loop with what came of it."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(_THREADS, "nimify-bulk")
        self._executor.submit(self._work, work, done, failed)

    def close(self) -> None:
        """Begin nothing more; what runs is not waited for."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _work(
        self, work: Callable[[], Result], done: Callable[[Result], Any], failed: Callable[[Exception], Any]
    ) -> None:
        settled: Callable[[], Any]
        try:
            settled = partial(done, work())
        except RequestFault as fault:
            settled = partial(failed, detached(fault))
        except Exception as error:  # noqa: BLE001 - handed over whole, to be logged where the request is known
            settled = partial(failed, error)
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            self._loop.call_soon_threadsafe(settled)


def give_way() -> None:
    """Let another thread, above all the event loop, go on at once."""
    time.sleep(0)
