"""The queue before Triton, in front of a small HTTP server that answers as Triton would, when the test says so."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from nimify.metrics.registry import Registry
from nimify.metrics.service import ModelMetrics
from nimify.serving.batching import Answer, Job
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.logs import Log
from nimify.serving.spec import ServiceSpec
from nimify.serving.triton.dispatcher import Dispatcher
from nimify.serving.triton.statistics import StatisticsReader
from nimify.serving.triton.tensors import TensorCodec

FOREVER_S = 1e12
BAD = 13.0


@dataclass
class FakeTriton:
    """Adds one to `x`; fails every request that it holds together with a bad one, as Triton fails a batch.

    Attributes:
        port: Where it listens.
        held: Requests that wait for `release`.
        seen: First elements of everything that arrived.
        status: What bad requests are answered with, and what Triton says.
    """

    port: int = 0
    held: list[tuple[float, asyncio.StreamWriter]] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    failure: tuple[int, str] = (500, "onnx runtime error 2: index out of bounds")
    connections: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET"):
                    self._write(writer, 404, b"{}")
                    continue
                headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                body = await reader.readexactly(int(headers[b"content-length"]))
                raw = body[int(headers[b"inference-header-content-length"]) :]
                value = float(np.frombuffer(raw, "<f4")[0])
                self.seen.append(value)
                self.held.append((value, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def release(self) -> None:
        """Answer everything that is held."""
        held, self.held = self.held, []
        spoiled = any(value == BAD for value, _ in held)
        for value, writer in held:
            if spoiled:
                status, text = self.failure
                self._write(writer, status, orjson.dumps({"error": text}))
                continue
            raw = np.full((1, 4), value + 1, "<f4").tobytes()
            row = {"name": "y", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": len(raw)}}
            head = orjson.dumps({"outputs": [row]})
            self._write(writer, 200, head + raw, b"Inference-Header-Content-Length: %d\r\n" % len(head))

    def die(self) -> None:
        """Drop every connection."""
        for writer in self.connections:
            writer.transport.abort()

    @staticmethod
    def _write(writer: asyncio.StreamWriter, status: int, body: bytes, headers: bytes = b"") -> None:
        writer.write(b"HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n" % (status, headers, len(body)) + body)


@dataclass
class Bench:
    """A dispatcher before a fake Triton."""

    triton: FakeTriton
    dispatcher: Dispatcher
    pending: Callable[[], float]

    def ask(self, value: float, *, deadline_s: float = FOREVER_S) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        array = np.full((1, 4), value, np.float32)
        self.dispatcher.submit(Job({"x": array}, ("y",), 1, deadline_s, future.set_result))
        return future

    async def arrived(self, count: int) -> None:
        """Wait until Triton holds so many requests."""
        while len(self.triton.held) < count:
            await asyncio.sleep(0.001)

    async def answers(self, *futures: asyncio.Future[Answer]) -> list[float | Kind]:
        """The first element of every answer, or the kind of its fault; Triton answers whatever arrives."""
        while not all(future.done() for future in futures):
            self.triton.release()
            await asyncio.sleep(0.001)
        return [_outcome(future.result()) for future in futures]


def _outcome(answer: Answer) -> float | Kind:
    return answer.kind if isinstance(answer, RequestFault) else float(answer[0][0, 0])


Scene = Callable[[Bench], Awaitable[None]]
Play = Callable[..., None]


@pytest.fixture
def play(make_bundle: Callable[..., Path]) -> Play:
    """Play a scene with a dispatcher and a fake Triton."""
    spec = ServiceSpec.load(make_bundle("tiny"))

    async def played(scene: Scene, options: dict[str, Any]) -> None:
        registry = Registry()
        metrics = ModelMetrics(registry, "tiny", "1", 32)
        triton = FakeTriton()
        server = await asyncio.start_server(triton.serve, "127.0.0.1", 0)
        triton.port = server.sockets[0].getsockname()[1]
        dispatcher = Dispatcher(
            triton.port,
            TensorCodec(spec),
            statistics=StatisticsReader(triton.port, "/v2/models/tiny/versions/1", metrics),
            metrics=metrics,
            log=Log(stream=io.StringIO()),
            **{"capacity": 2, "merges": True, "max_queue_size": 100, **options},
        )
        cell = next(series for series in registry.series if series.metric.name.startswith("nv_inference_pending"))
        try:
            async with asyncio.timeout(20):
                await scene(Bench(triton, dispatcher, lambda: registry.total(cell.first_cell)))
        finally:
            dispatcher.close()
            triton.die()
            server.close()
            await server.wait_closed()
            await asyncio.sleep(0)

    return lambda scene, **options: asyncio.run(played(scene, options))


def test_triton_gets_what_it_can_run_and_as_much_again(play: Play) -> None:
    """The rest waits here, and everybody gets his own answer; connections are kept."""

    async def scene(bench: Bench) -> None:
        futures = [bench.ask(float(number)) for number in range(10)]
        await bench.arrived(4)
        assert bench.pending() == 8  # all but the two that can run
        assert await bench.answers(*futures) == [float(number + 1) for number in range(10)]
        assert len(bench.triton.connections) <= 4 + 1  # and that of the statistics
        assert bench.pending() == 0

    play(scene)


def test_a_model_that_cannot_batch_is_sent_one_at_a_time(play: Play) -> None:
    """So that what waits can still be given up."""

    async def scene(bench: Bench) -> None:
        futures = [bench.ask(1.0), bench.ask(2.0)]
        await bench.arrived(1)
        await asyncio.sleep(0.02)
        assert bench.triton.seen == [1.0]
        assert await bench.answers(*futures) == [2.0, 3.0]

    play(scene, capacity=1, merges=False)


def test_a_bad_request_fails_alone(play: Play) -> None:
    """Those that failed with it run again with nothing beside them."""

    async def scene(bench: Bench) -> None:
        futures = [bench.ask(value) for value in (1.0, BAD, 3.0, 4.0)]
        await bench.arrived(4)
        assert await bench.answers(*futures) == [2.0, Kind.REFUSED_BY_MODEL, 4.0, 5.0]
        assert len(bench.triton.seen) == 8

    play(scene)


def test_a_bad_request_without_company_is_not_run_again(play: Play) -> None:
    """Nobody else can have been the reason."""

    async def scene(bench: Bench) -> None:
        assert await bench.answers(bench.ask(BAD)) == [Kind.REFUSED_BY_MODEL]
        assert bench.triton.seen == [BAD]
        assert await bench.answers(bench.ask(1.0)) == [2.0]

    play(scene)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        ((400, "unexpected shape"), Kind.REFUSED_BY_MODEL),
        ((500, "CUDA error: out of memory"), Kind.UNAVAILABLE),
        ((503, "Exceeds maximum queue size"), Kind.UNAVAILABLE),
        ((503, "Request timeout expired"), Kind.DEADLINE_EXCEEDED),
        ((404, "Request for unknown model"), Kind.UNAVAILABLE),
    ],
)
def test_tritons_failures_have_our_kinds(failure: tuple[int, str], kind: Kind, play: Play) -> None:
    """Each transport knows what to make of them; no word of Triton's reaches a client."""

    async def scene(bench: Bench) -> None:
        bench.triton.failure = failure
        future = bench.ask(BAD)
        assert await bench.answers(future) == [kind]
        answer = future.result()
        assert isinstance(answer, RequestFault)
        assert failure[1] not in answer.message

    play(scene)


def test_a_full_queue_refuses(play: Play) -> None:
    """What Triton holds beyond what it can run counts as waiting."""

    async def scene(bench: Bench) -> None:
        futures = [bench.ask(float(number)) for number in range(5)]
        await bench.arrived(4)
        with pytest.raises(RequestFault, match="queue is full"):
            bench.ask(9.0)
        assert await bench.answers(*futures) == [1.0, 2.0, 3.0, 4.0, 5.0]

    play(scene, max_queue_size=3)


def test_who_gave_up_or_waited_too_long_is_not_sent(play: Play) -> None:
    """The first hears nothing more, the second of his deadline."""

    async def scene(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        first = bench.ask(1.0)
        await bench.arrived(1)
        late = bench.ask(2.0, deadline_s=loop.time())
        unheard: list[Answer] = []
        left = Job({"x": np.zeros((1, 4), np.float32)}, ("y",), 1, FOREVER_S, unheard.append)
        bench.dispatcher.submit(left)
        left.cancel()
        assert await bench.answers(first, late) == [2.0, Kind.DEADLINE_EXCEEDED]
        assert bench.triton.seen == [1.0]
        assert unheard == []

    play(scene, capacity=1, merges=False)


def test_whatever_triton_had_when_it_died_is_told_to_come_again(play: Play) -> None:
    """And so is whatever waited, once it is known to be gone."""

    async def scene(bench: Bench) -> None:
        futures = [bench.ask(float(number)) for number in range(3)]
        await bench.arrived(2)
        bench.triton.die()
        bench.dispatcher.close()
        for answer in await asyncio.gather(*futures):
            assert isinstance(answer, RequestFault)
            assert answer.kind is Kind.UNAVAILABLE
            assert answer.retry_after_s

    play(scene, capacity=2, merges=False)
