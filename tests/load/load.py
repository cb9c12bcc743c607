"""Many clients at once that ask until there is nothing left to ask, and judge every answer."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from tests.load.clients import Client, Failed, GrpcClient, HttpClient, binary, plain_json, typed_json
from tests.load.questions import Oracle, Question, question


@dataclass
class Tally:
    """What became of the questions.

    Attributes:
        answered: How many were answered rightly.
        failed: Why others were not answered.
        wrong: Those that got the answer to something else.
        latencies_s: How long each right answer took, in the order of their ends.
    """

    answered: int = 0
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)


class Load:
    """Asks question after question over each of its clients.

    Args:
        most: How many questions; `None` for as many as there is time for.
        width: Of their rows; 0 for several widths.
    """

    def __init__(self, oracle: Oracle, clients: Sequence[Client], *, most: int | None = None, width: int = 0) -> None:
        self.tally = Tally()
        self._oracle = oracle
        self._clients = clients
        self._numbers = iter(range(most)) if most is not None else itertools.count()
        self._width = width
        self._enough = False

    def stop(self) -> None:
        """Ask nothing more; `run` returns when the last answers are there."""
        self._enough = True

    async def run(self) -> Tally:
        """Ask until all is asked, or `stop` is called."""
        await asyncio.gather(*map(self._work, self._clients))
        await asyncio.gather(*(client.close() for client in self._clients))
        return self.tally

    async def _work(self, client: Client) -> None:
        for number in self._numbers:
            if self._enough:
                return
            await self._ask(client, question(number, width=self._width))

    async def _ask(self, client: Client, asked: Question) -> None:
        started_s = time.perf_counter()
        try:
            answer = await client.ask(asked)
        except Failed as failure:
            self.tally.failed.append(f"question {asked.number}: {failure}")
            await asyncio.sleep(0.01)
            return
        taken_s = time.perf_counter() - started_s
        expected = self._oracle.answer(asked)
        if answer.keys() == expected.keys() and all(np.array_equal(answer[name], expected[name]) for name in expected):
            self.tally.answered += 1
            self.tally.latencies_s.append(taken_s)
        else:
            self.tally.wrong.append(f"question {asked.number}: {answer!r}")


def mixed_clients(port: int, grpc_address: str, *, count: int) -> list[Client]:
    """Clients of every kind, a quarter of each."""
    kinds: list[Client] = []
    for number in range(count):
        if number % 4 == 3:
            kinds.append(GrpcClient(grpc_address))
        else:
            kinds.append(HttpClient(port, (typed_json, plain_json, binary)[number % 4]))
    return kinds
