"""The order of measurements for one model.

In a round every server is started afresh. Then, for each number of connections, the ceiling is measured and the
servers are loaded one after the other: what is compared ran within seconds of each other, and what changes on the
machine from minute to minute meets all alike. The servers that are not loaded idle meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from benchmarks.cells import RAW, Cell
from benchmarks.contestants import Contestant, Question, RunningServer, running
from benchmarks.exchange import Protocol, infer_request, send
from benchmarks.failure import RunFailed, blaming
from benchmarks.load import LoadPrograms, LoadResult
from benchmarks.machine import CpuMeter
from benchmarks.models import BenchModel
from benchmarks.peers.session import open_session
from benchmarks.records import Ceiling, Failure, Load, RawMemory, Recorder, Start

_QUESTIONS: Final = 8
"""Different requests whose answers are checked before anything is timed."""
_MANY_CONNECTIONS: Final = 32
_LONG_S: Final = 8
_RATHER_LONG_S: Final = 6
"""Answers of merged requests come in bundles, and the last bundle counts or not; it must not weigh much."""
_CEILING_S: Final = 1.0

Questions = Mapping[Protocol, Sequence[Question]]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: How often everything is done.
        seconds: How long each load lasts.
        connections: Numbers of connections.
        patient: Whether costly models get more time at several connections, where answers are few.
    """

    rounds: int
    seconds: int
    connections: tuple[int, ...]
    patient: bool = True

    def seconds_for(self, model: BenchModel, connections: int) -> int:
        """How long one load of this model lasts."""
        if not (self.patient and model.heavy and connections > 1):
            return self.seconds
        return max(self.seconds, _LONG_S if connections >= _MANY_CONNECTIONS else _RATHER_LONG_S)


@dataclass(frozen=True, slots=True)
class Rounds:
    """Measures one model.

    Attributes:
        model: Which one.
        questions: What servers are asked.
        contestants: The servers.
        effort: How much is measured.
        load: What sends the load.
        recorder: Takes what was measured.
        wanted: Which cells are measured.
        raw_memory: Whether the memory of ONNX Runtime without a service is measured too.
        dispensable: Servers without which the rest goes on; one that fails is recorded, and out of its round.
    """

    model: BenchModel
    questions: Questions
    contestants: Sequence[Contestant]
    effort: Effort
    load: LoadPrograms
    recorder: Recorder
    wanted: Callable[[Cell], bool] = field(default=lambda _cell: True)
    raw_memory: bool = False
    dispensable: frozenset[str] = frozenset()

    def run(self, number: int) -> None:
        """Do one round.

        Raises:
            RunFailed: An indispensable server did not start, answered wrongly, or could not be measured.
        """
        if self.raw_memory:
            self.recorder.add(RawMemory(self.model.name, number, self._raw_memory()))
        with self._servers(number) as servers:
            for connections in self.effort.connections:
                self._step(number, connections, servers)

    @contextlib.contextmanager
    def _servers(self, number: int) -> Iterator[list[RunningServer]]:
        """All servers, started one after the other, and right in their answers."""
        with contextlib.ExitStack() as all_of_them:
            servers: list[RunningServer] = []
            stacks: list[contextlib.ExitStack] = []
            all_of_them.callback(_close_together, stacks)
            for contestant in self.contestants:
                stacks.append(contextlib.ExitStack())
                with self._without(contestant.name, number):
                    servers.append(self._start(contestant, number, stacks[-1]))
            yield servers

    def _start(self, contestant: Contestant, number: int, stack: contextlib.ExitStack) -> RunningServer:
        first = self.questions[contestant.protocols[0]][0]
        server = stack.enter_context(running(contestant, self.model, first))
        self._say(f"round {number}: {contestant.name} started in {server.cold_start_s:.2f} s")
        figures = (server.cold_start_s, server.idle_bytes, server.noisy_start)
        self.recorder.add(Start(self.model.name, number, contestant.name, *figures))
        with blaming(contestant.name), server.awake():
            for protocol in contestant.protocols:
                _check(server, self.questions[protocol])
        return server

    @contextlib.contextmanager
    def _without(self, name: str, number: int) -> Iterator[None]:
        """Record the failure of a server that can be done without, and go on."""
        try:
            yield
        except RunFailed as failure:
            if name not in self.dispensable:
                raise
            self.recorder.add(Failure(self.model.name, number, name, str(failure)))
            self._say(f"round {number}: FAILED, and goes on without it: {failure}")

    def _step(self, number: int, connections: int, servers: list[RunningServer]) -> None:
        """The ceiling, then in each protocol all servers that speak it, one after the other."""
        if self.wanted(Cell(self.model.name, RAW, None, connections)):
            self.recorder.add(self._ceiling(number, connections))
        for protocol in Protocol:
            for server in servers.copy():
                name = server.contestant.name
                wanted = self.wanted(Cell(self.model.name, name, protocol, connections))
                if not wanted or protocol not in server.contestant.protocols:
                    continue
                with self._without(name, number):
                    result = self._load(server, protocol, connections)
                    self.recorder.add(Load(self.model.name, number, connections, name, protocol, result))
                    self._say(f"round {number}, {connections} connections: {name} {protocol}: {_in_words(result)}")
                    continue
                servers.remove(server)

    def _load(self, server: RunningServer, protocol: Protocol, connections: int) -> LoadResult:
        with blaming(server.contestant.name), server.awake():
            return self.load.measure(
                server.ports.of(protocol),
                server.pid,
                self.questions[protocol][0].request,
                connections=connections,
                seconds=self.effort.seconds_for(self.model, connections),
            )

    def _raw_memory(self) -> int:
        script = [sys.executable, "-m", "benchmarks.peers.raw_session", str(self.model.ensure())]
        done = subprocess.run([*script, f"--threads={self.model.threads}"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RunFailed(f"the raw session ended with status {done.returncode}: {done.stderr[-300:]}")
        return int(done.stdout)

    def _ceiling(self, number: int, connections: int) -> Ceiling:
        command = [sys.executable, "-m", "benchmarks.raw_loop", self.model.name, f"--seconds={_CEILING_S}"]
        meter = CpuMeter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        usage = meter.read()
        if done.returncode != 0:
            raise RunFailed(f"the raw loop ended with status {done.returncode}: {done.stderr[-300:]}")
        figures = json.loads(done.stdout)
        return Ceiling(self.model.name, number, connections, **figures, noisy=usage.noisy)

    def _say(self, text: str) -> None:
        """Progress goes to standard error; the tables alone go to standard output."""
        print(f"{self.model.name}: {text}", file=sys.stderr, flush=True)


def _close_together(stacks: Sequence[contextlib.ExitStack]) -> None:
    """End all servers at once, because some take seconds for it."""
    with ThreadPoolExecutor(len(stacks) or 1) as pool:
        for ending in [pool.submit(stack.close) for stack in stacks]:
            ending.result()


def questions_for(model: BenchModel) -> Questions:
    """Requests of one row in every protocol, with the answers of a session that no server shares."""
    random = np.random.default_rng(0)
    session: Any = open_session(model.ensure(), model.threads)
    drawn = [model.draw(1, random) for _ in range(_QUESTIONS)]
    answers = [session.run(None, inputs)[0] for inputs in drawn]
    return {
        protocol: [
            Question(infer_request(model.name, protocol, inputs), answer)
            for inputs, answer in zip(drawn, answers, strict=True)
        ]
        for protocol in Protocol
    }


def _check(server: RunningServer, questions: Sequence[Question]) -> None:
    """Ask everything once; a server that answers wrongly is not measured."""
    for question in questions:
        question.check(send(server.ports.of(question.request.protocol), question.request))


def _in_words(result: LoadResult) -> str:
    noise = f", noisy: {result.other_cores:.1f} cores of other work" if result.noisy else ""
    errors = f", {result.errors} ERRORS" if result.errors else ""
    return f"{result.requests_per_s:,.0f}/s, p50 {result.p50_ms:.2f} ms, p99 {result.p99_ms:.2f} ms{errors}{noise}"
