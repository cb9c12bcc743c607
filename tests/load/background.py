"""A load that goes on while a test does something else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Self

from tests.load.clients import Client
from tests.load.load import Load, Tally
from tests.load.questions import Oracle


class BackgroundLoad:
    """Asks from a thread of its own, from the beginning of the block to its end.

    Args:
        clients: Makes the clients; called on the thread that they will live on.

    Attributes:
        tally: What has become of the questions; whole behind the block.
    """

    def __init__(self, oracle: Oracle, clients: Callable[[], Sequence[Client]], *, most: int | None = None) -> None:
        self.tally = Tally()
        self._oracle = oracle
        self._clients = clients
        self._most = most
        self._load: Load | None = None
        self._begun = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(self, *_: object) -> None:
        if self._load is not None:
            self._load.stop()
        self._thread.join()
        if self._error is not None:
            raise self._error

    @property
    def over(self) -> bool:
        """Whether all that was to be asked is answered."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._ask())
        except BaseException as error:  # noqa: BLE001 - raised where the block ends
            self._error = error
        finally:
            self._begun.set()

    async def _ask(self) -> None:
        self._load = Load(self._oracle, self._clients(), most=self._most)
        self.tally = self._load.tally
        self._begun.set()
        await self._load.run()
