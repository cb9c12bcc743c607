"""The wrapper around the model: what it asks, what it remembers, and what it leaves alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from nimify.metrics.registry import Registry
from nimify.metrics.service import ModelMetrics
from nimify.serving.batching import Answer, Job
from nimify.serving.bulk import Bulk
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.logs import Log
from nimify.serving.response_cache.cache import ResponseCache
from nimify.serving.response_cache.model import LARGE_INPUT_BYTES, CachedModel
from nimify.serving.spec import ServiceSpec
from nimify.tensors import Signature

SPEC = ServiceSpec("m", "1", "1", "f", (), "sha256:aa", "onnxruntime", Signature((), ()), Signature((), ()))


class Queue:
    """A queue whose answers the test gives."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.full = False

    def submit(self, job: Job) -> None:
        if self.full:
            raise RequestFault(Kind.UNAVAILABLE, "The queue is full; try again later.")
        self.jobs.append(job)


class Inner:
    """A model with such a queue."""

    spec = SPEC

    def __init__(self) -> None:
        self.batcher: Queue | None = Queue()


class Bench:
    """A cached model on an event loop, with what became of its jobs."""

    def __init__(self) -> None:
        self.inner = Inner()
        self.bulk = Bulk()
        self.metrics = ModelMetrics(Registry(workers=1), "m", "1")
        self.cache = ResponseCache(64 << 20)
        self.model = CachedModel(
            self.inner, self.cache, bulk=self.bulk, metrics=self.metrics, log=Log("critical", stream=None)
        )

    def ask(self, value: float = 1.0, length: int = 4) -> tuple[Job, asyncio.Future[Answer]]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        job = Job({"x": np.full(length, value, np.float32)}, ("y",), 1, float("inf"), future.set_result)
        self.model.submit(job)
        return job, future

    @property
    def queue(self) -> Queue:
        assert self.inner.batcher is not None
        return self.inner.batcher


def run(test: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        bench = Bench()
        try:
            await asyncio.wait_for(test(bench), 60)
        finally:
            bench.bulk.close()

    asyncio.run(main())


def values(answer: Answer) -> Any:
    assert not isinstance(answer, RequestFault)
    return answer[0].tolist()


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_a_hit_is_answered_later_and_asks_nobody() -> None:
    """Whoever asks knows the job before it is answered."""

    async def test(bench: Bench) -> None:
        _, first = bench.ask()
        bench.queue.jobs[0].finish([np.array([7.0])])
        assert values(await first) == [7.0]
        _, second = bench.ask()
        assert not second.done()
        assert values(await second) == [7.0]
        assert len(bench.queue.jobs) == 1

    run(test)


def test_a_fault_is_handed_over_and_forgotten() -> None:
    """The next equal request is asked again."""

    async def test(bench: Bench) -> None:
        for _ in range(2):
            _, future = bench.ask()
            bench.queue.jobs[-1].finish(RequestFault(Kind.REFUSED_BY_MODEL, "no"))
            assert isinstance(await future, RequestFault)
        assert len(bench.queue.jobs) == 2
        assert len(bench.cache) == 0

    run(test)


def test_what_its_receiver_does_to_an_answer_stays_with_it() -> None:
    """The copy is made before it is handed over."""

    async def test(bench: Bench) -> None:
        _, first = bench.ask()
        answer = np.array([7.0])
        bench.queue.jobs[0].finish([answer])
        answer[0] = 0.0
        _, second = bench.ask()
        assert values(await second) == [7.0]
        await first

    run(test)


def test_a_large_request_is_looked_up_beside_the_loop() -> None:
    """It comes to the queue a little later, and is found the next time."""

    async def test(bench: Bench) -> None:
        _, first = bench.ask(length=LARGE_INPUT_BYTES)
        assert bench.queue.jobs == []
        await until(lambda: bench.queue.jobs)
        bench.queue.jobs[0].finish([np.zeros(1 << 20)])
        answer = await first
        assert not isinstance(answer, RequestFault)
        _, second = bench.ask(length=LARGE_INPUT_BYTES)
        await second
        assert len(bench.queue.jobs) == 1

    run(test)


def test_a_large_request_that_nobody_waits_for_is_not_queued() -> None:
    """Its client left while its key was made."""

    async def test(bench: Bench) -> None:
        job, _ = bench.ask(length=LARGE_INPUT_BYTES)
        job.cancel()
        _, other = bench.ask(value=2.0, length=LARGE_INPUT_BYTES)
        await until(lambda: bench.queue.jobs)
        bench.queue.jobs[0].finish([np.array([1.0])])
        await other
        assert len(bench.queue.jobs) == 1
        assert bench.queue.jobs[0] is not job

    run(test)


def test_a_full_queue_refuses_large_requests_too() -> None:
    """The fault reaches the one who asked, although the asking is over."""

    async def test(bench: Bench) -> None:
        bench.queue.full = True
        _, future = bench.ask(length=LARGE_INPUT_BYTES)
        answer = await future
        assert isinstance(answer, RequestFault)
        assert answer.kind is Kind.UNAVAILABLE

    run(test)


def test_a_model_that_is_lost_meanwhile_is_unavailable() -> None:
    """Triton may end between the asking and the looking up."""

    async def test(bench: Bench) -> None:
        _, future = bench.ask(length=LARGE_INPUT_BYTES)
        bench.inner.batcher = None
        assert bench.model.batcher is None
        answer = await future
        assert isinstance(answer, RequestFault)
        assert answer.kind is Kind.UNAVAILABLE

    run(test)


def test_an_answer_that_was_given_up_is_dropped() -> None:
    """A large one is copied first; its receiver may leave meanwhile."""

    async def test(bench: Bench) -> None:
        job, future = bench.ask()
        bench.queue.jobs[0].finish([np.zeros(1 << 20)])
        job.cancel()
        await until(lambda: len(bench.cache))
        assert not future.done()

    run(test)


def test_an_answer_that_cannot_be_copied_is_given_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is no memory to remember is an answer nevertheless."""
    monkeypatch.setattr("nimify.serving.response_cache.model.kept", no_memory)

    async def test(bench: Bench) -> None:
        _, future = bench.ask()
        bench.queue.jobs[0].finish([np.full(1 << 20, 7.0)])
        assert values(await future)[0] == 7.0
        assert not len(bench.cache)

    run(test)


def test_a_request_whose_key_cannot_be_made_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is neither looked up nor remembered."""
    monkeypatch.setattr("nimify.serving.response_cache.model.RequestKeys.key", no_memory)

    async def test(bench: Bench) -> None:
        _, future = bench.ask(length=LARGE_INPUT_BYTES)
        await until(lambda: bench.queue.jobs)
        bench.queue.jobs[0].finish([np.array([7.0])])
        assert values(await future) == [7.0]
        assert not len(bench.cache)

    run(test)


def no_memory(*_: object) -> None:
    raise MemoryError
