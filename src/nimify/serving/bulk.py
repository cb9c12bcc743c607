"""Work that would hold up the event loop: large bodies are read, written and (de)compressed on threads beside it.

What runs here must let go of the interpreter's lock now and then (see `give_way`), or it holds up the loop all the
same.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from nimify.serving.faults import RequestFault, detached

Result = TypeVar("Result")

LARGE_BYTES: Final = 64 * 1024
"""From here on a body of JSON is no work for the event loop: reading it takes some three milliseconds."""
LARGE_RAW_BYTES: Final = 1 << 20
"""The same for raw tensors, which are copied at most."""
TURN_S: Final = 0.0005
"""How long work goes on before it gives way; the event loop waits that long and a step longer."""
_PAUSE_S: Final = 1e-6
"""What the kernel makes fifty microseconds of."""
_THREADS: Final = 2


class Bulk:
    """Runs work on a few threads; used from the event loop's thread only.

    The threads are there from the start: where memory or threads run out, none could be begun for a request.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        for _ in range(_THREADS):
            threading.Thread(target=self._run_tasks, name="nimify-bulk", daemon=True).start()

    def run(
        self, work: Callable[[], Result], done: Callable[[Result], Any], failed: Callable[[Exception], Any]
    ) -> None:
        """Run `work` on a thread, then call `done` or `failed` on the event loop with what came of it."""
        self._tasks.put(partial(self._work, work, done, failed))

    def close(self) -> None:
        """End the threads behind what is queued; nothing is waited for, and nothing is run afterwards."""
        for _ in range(_THREADS):
            self._tasks.put(None)

    def _run_tasks(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
            del task  # with the body that it holds, while this waits for the next

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


class _Turn(threading.local):
    """What a thread notes of its turn with the interpreter's lock."""

    began_s = 0.0


_turn = _Turn()


def give_way() -> None:
    """Let another thread, above all the event loop, go on at once, if this one has had its turn.

    The lock must be let go for longer than the other thread takes to wake up, or this one has it again: a sleep of no
    time at all does not do in every Python. A pause takes some eighty microseconds, so there is none at each call.
    """
    if time.monotonic() - _turn.began_s >= TURN_S:
        time.sleep(_PAUSE_S)
        _turn.began_s = time.monotonic()
