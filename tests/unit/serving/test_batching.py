"""The queue before the engine: what runs together, in which order, and what one request can do to another."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest

from nimify.metrics.registry import Registry
from nimify.metrics.service import ModelMetrics
from nimify.serving.batching import Answer, Batcher, Job, Run, Runner
from nimify.serving.engines.engine import Array, EngineRefused
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.logs import Log
from nimify.serving.runners import InlineRunner, ThreadRunner
from nimify.testing.engines import EchoEngine, FirstRowEngine, Inputs

FOREVER_S = 1e12
STARTED: list[Runner] = []
RUNNERS = pytest.mark.parametrize("runner_type", [InlineRunner, ThreadRunner])


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    while STARTED:
        STARTED.pop().stop()


@dataclass
class HeldRunner:
    """A runner that runs when the test says so: until then the engine is busy."""

    held: list[tuple[Run, Callable[[Run], None], Callable[[Run], None]]] = field(default_factory=list)

    def start(self, run: Run, execute: Callable[[Run], None], done: Callable[[Run], None]) -> None:
        self.held.append((run, execute, done))

    def release(self) -> None:
        run, execute, done = self.held.pop(0)
        execute(run)
        done(run)

    def stop(self) -> None:
        self.held.clear()


@dataclass
class Bench:
    """A batcher with everything that it needs, and the means to look at it."""

    engine: EchoEngine
    batcher: Batcher
    metrics: ModelMetrics
    registry: Registry
    log: io.StringIO
    asked: list[Job] = field(default_factory=list)

    def ask(
        self,
        inputs: Array | Mapping[str, Array],
        outputs: tuple[str, ...] | None = None,
        *,
        deadline_s: float = FOREVER_S,
        priority: int = 0,
        then: Callable[[], object] = lambda: None,
    ) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            future.set_result(answer)
            then()

        tensors = {"x": inputs} if isinstance(inputs, np.ndarray) else inputs
        names = outputs or tuple(spec.name for spec in self.engine.signature.outputs)
        job = Job(tensors, names, next(iter(tensors.values())).shape[0], deadline_s, done, priority=priority)
        self.batcher.submit(job)
        self.asked.append(job)
        return future

    def value(self, metric: str, bucket: int = 0) -> float:
        series = next(item for item in self.registry.series if item.metric.name == metric)
        return self.registry.total(series.first_cell + bucket)


def bench(
    engine: EchoEngine | None = None,
    *,
    runner: Runner | None = None,
    max_batch_size: int = 8,
    max_queue_size: int = 10_000,
    max_queue_delay_us: int = 0,
) -> Bench:
    registry, log = Registry(), io.StringIO()
    engine = engine or EchoEngine({"x": ("FP32", ["batch", None])})
    runner = runner or InlineRunner()
    STARTED.append(runner)
    metrics = ModelMetrics(registry, "m", "1")
    batcher = Batcher(
        engine,
        output_names=tuple(spec.name for spec in engine.signature.outputs),
        max_batch_size=max_batch_size,
        max_queue_size=max_queue_size,
        max_queue_delay_us=max_queue_delay_us,
        runner=runner,
        metrics=metrics,
        log=Log("debug", stream=log),
    )
    return Bench(engine, batcher, metrics, registry, log)


def row(value: float, *, width: int = 2, rows: int = 1) -> Array:
    return np.full((rows, width), value, dtype=np.float32)


def batch_sizes(engine: EchoEngine) -> list[int]:
    return [next(iter(inputs.values())).shape[0] for inputs in engine.runs]


def arrays(answer: Answer) -> list[Array]:
    assert not isinstance(answer, RequestFault), answer.message
    return list(answer)


def fault(answer: Answer) -> RequestFault:
    assert isinstance(answer, RequestFault)
    return answer


def on_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def test_an_idle_engine_runs_a_request_in_the_next_turn() -> None:
    """Nobody waits for company when the engine has nothing to do."""

    async def main() -> None:
        b = bench()
        future = b.ask(row(1))
        assert not b.batcher.idle
        await asyncio.sleep(0)
        assert future.done()
        np.testing.assert_array_equal(arrays(future.result())[0], row(1))
        assert b.batcher.idle

    on_loop(main)


@RUNNERS
def test_requests_of_one_turn_run_together(runner_type: Callable[[], Runner]) -> None:
    """Eight requests that arrive in one turn of the loop are one run, and each gets its own rows."""

    async def main() -> None:
        b = bench(runner=runner_type())
        answers = await asyncio.gather(*[b.ask(row(number)) for number in range(8)])
        assert batch_sizes(b.engine) == [8]
        for number, answer in enumerate(answers):
            np.testing.assert_array_equal(arrays(answer)[0], row(number))

    on_loop(main)


def test_what_arrives_during_a_run_is_the_next_batch() -> None:
    """A busy engine is not started a second time; it takes what has queued when it is free."""

    async def main() -> None:
        runner = HeldRunner()
        b = bench(runner=runner)
        first = b.ask(row(0))
        await asyncio.sleep(0)
        later = [b.ask(row(1)), b.ask(row(2))]
        await asyncio.sleep(0)
        assert len(runner.held) == 1
        assert b.value("nv_inference_pending_request_count") == 2
        runner.release()
        await asyncio.sleep(0)
        runner.release()
        await asyncio.gather(first, *later)
        assert batch_sizes(b.engine) == [1, 2]
        assert b.value("nv_inference_pending_request_count") == 0

    on_loop(main)


def test_urgent_requests_go_first() -> None:
    """1 before 2 before those that do not say; equals in the order in which they came."""

    async def main() -> None:
        runner = HeldRunner()
        b = bench(runner=runner, max_batch_size=1)
        futures = [b.ask(row(0))]
        await asyncio.sleep(0)
        order: list[int] = []
        for number, priority in enumerate([0, 2, 1, 0, 2, 1]):
            futures.append(b.ask(row(number), priority=priority, then=partial(order.append, number)))
        for _ in range(7):
            runner.release()
            await asyncio.sleep(0)
        await asyncio.gather(*futures)
        assert order == [2, 5, 1, 4, 0, 3]

    on_loop(main)


def test_only_equal_row_shapes_are_merged_and_order_is_kept() -> None:
    """Two interleaved shapes become two batches, each in order of arrival."""

    async def main() -> None:
        b = bench(max_batch_size=4)
        await asyncio.gather(*[b.ask(row(number, width=2 + number % 2)) for number in range(10)])
        ran = [inputs["x"][:, 0].tolist() for inputs in b.engine.runs]
        assert ran == [[0, 2, 4, 6], [1, 3, 5, 7], [8], [9]]

    on_loop(main)


def test_the_order_in_which_a_client_lists_inputs_does_not_matter() -> None:
    """Requests merge by the shape of each input, not of the first and the second that the client wrote.

    The third request here has shapes that look like those of the first two when one forgets the names.
    """

    async def main() -> None:
        b = bench(EchoEngine({"a": ("FP32", ["batch", None]), "b": ("FP32", ["batch", None])}))
        answers = await asyncio.gather(
            b.ask({"a": row(1, width=2), "b": row(2, width=3)}),
            b.ask({"b": row(4, width=3), "a": row(3, width=2)}),
            b.ask({"b": row(6, width=2), "a": row(5, width=3)}),
        )
        assert batch_sizes(b.engine) == [2, 1]
        for number, answer in enumerate(answers):
            assert [array[0, 0] for array in arrays(answer)] == [2 * number + 1, 2 * number + 2]
        assert b.log.getvalue() == ""

    on_loop(main)


@pytest.mark.parametrize(
    ("rows", "batches"),
    [([3, 3, 3], [6, 3]), ([8, 1], [8, 1]), ([5, 5, 3], [8, 5]), ([1] * 17, [8, 8, 1])],
)
def test_a_batch_never_has_more_rows_than_allowed(rows: list[int], batches: list[int]) -> None:
    """A request that would not fit any more is passed over for a smaller one behind it."""

    async def main() -> None:
        b = bench(max_batch_size=8)
        answers = await asyncio.gather(*[b.ask(row(index, rows=count)) for index, count in enumerate(rows)])
        assert batch_sizes(b.engine) == batches
        assert [len(arrays(answer)[0]) for answer in answers] == rows
        assert b.value("nv_inference_count") == sum(rows)
        assert b.value("nv_inference_exec_count") == len(batches)

    on_loop(main)


@pytest.mark.parametrize("max_batch_size", [0, 1])
def test_without_batching_every_request_runs_alone(max_batch_size: int) -> None:
    """The engine gets the very array of the request."""

    async def main() -> None:
        b = bench(max_batch_size=max_batch_size)
        sent = [row(number) for number in range(3)]
        await asyncio.gather(*map(b.ask, sent))
        assert [inputs["x"] is array for inputs, array in zip(b.engine.runs, sent, strict=True)] == [True] * 3

    on_loop(main)


@RUNNERS
def test_a_refused_batch_is_run_again_one_by_one(runner_type: Callable[[], Runner]) -> None:
    """One bad request fails alone, and the refusal's own words go to the log only."""

    def refuse(inputs: Inputs) -> None:
        if (inputs["x"] == 13).any():
            raise EngineRefused("/secret/path: index 13 out of range")

    async def main() -> None:
        b = bench(EchoEngine({"x": ("FP32", ["batch", None])}, on_run=refuse), runner=runner_type())
        good, bad, other = await asyncio.gather(b.ask(row(1)), b.ask(row(13)), b.ask(row(2)))
        assert batch_sizes(b.engine) == [3, 1, 1, 1]
        assert (arrays(good)[0][0, 0], arrays(other)[0][0, 0]) == (1, 2)
        assert fault(bad).kind is Kind.REFUSED_BY_MODEL
        assert "secret" not in fault(bad).message
        assert "secret" in b.log.getvalue()

    on_loop(main)


@RUNNERS
def test_a_broken_engine_answers_internal_and_the_queue_lives_on(runner_type: Callable[[], Runner]) -> None:
    """An error that no contract allows, even in a merged run, costs its requests and nothing else."""
    broken = threading.Event()
    broken.set()

    def fail(inputs: Inputs) -> None:
        if broken.is_set():
            raise ZeroDivisionError("/secret/path")

    async def main() -> None:
        b = bench(EchoEngine({"x": ("FP32", ["batch", None])}, on_run=fail), runner=runner_type())
        for answer in await asyncio.gather(b.ask(row(1)), b.ask(row(2)), b.ask(row(3, width=3))):
            assert fault(answer).kind is Kind.INTERNAL
            assert "secret" not in fault(answer).message
        broken.clear()
        assert arrays(await b.ask(row(4)))[0][0, 0] == 4
        assert b.batcher.idle
        assert "ZeroDivisionError" in b.log.getvalue()

    on_loop(main)


def test_an_output_that_does_not_count_rows_is_not_cut_up() -> None:
    """Requests of a model that answers with one row for any batch run one by one instead."""

    async def main() -> None:
        b = bench(FirstRowEngine({"x": ("FP32", ["batch", None])}))
        answers = await asyncio.gather(b.ask(row(1, rows=2)), b.ask(row(2, rows=2)))
        assert [arrays(answer)[0].tolist() for answer in answers] == [[[1, 1]], [[2, 2]]]

    on_loop(main)


def test_each_request_of_a_batch_gets_the_outputs_that_it_asked_for() -> None:
    """Different wishes run together; equal wishes spare the engine the rest."""

    async def main() -> None:
        b = bench(EchoEngine({"a": ("FP32", ["batch", 2]), "b": ("FP32", ["batch", 2])}))

        def ask(value: float, *names: str) -> asyncio.Future[Answer]:
            return b.ask({"a": row(value), "b": row(-value)}, names)

        answers = await asyncio.gather(ask(1, "b_out"), ask(2, "b_out", "a_out"), ask(3, "a_out", "b_out"))
        assert [[array[0, 0] for array in arrays(answer)] for answer in answers] == [[-1], [-2, 2], [3, -3]]
        await asyncio.gather(ask(4, "b_out"), ask(5, "b_out"))
        assert b.engine.wanted == [("a_out", "b_out"), ("b_out",)]

    on_loop(main)


def test_a_cancelled_request_does_not_run() -> None:
    """It leaves the queue without an answer, and its neighbours run."""

    async def main() -> None:
        b = bench()
        gone, stays = b.ask(row(1)), b.ask(row(2))
        b.asked[0].cancel()
        await stays
        await asyncio.sleep(0)
        assert not gone.done()
        assert [inputs["x"].tolist() for inputs in b.engine.runs] == [row(2).tolist()]

    on_loop(main)


def test_a_request_cancelled_during_its_run_gets_no_answer() -> None:
    """Its rows were computed, but nobody is called."""

    async def main() -> None:
        runner = HeldRunner()
        b = bench(runner=runner)
        gone, stays = b.ask(row(1)), b.ask(row(2))
        await asyncio.sleep(0)
        b.asked[0].cancel()
        runner.release()
        assert stays.done()
        assert not gone.done()

    on_loop(main)


def test_a_queue_of_nothing_but_cancelled_requests_goes_idle() -> None:
    """Nothing runs, and the next request is served."""

    async def main() -> None:
        b = bench()
        b.ask(row(1))
        b.asked[0].cancel()
        await asyncio.sleep(0)
        assert b.batcher.idle
        assert b.engine.runs == []
        await b.ask(row(2))

    on_loop(main)


def test_a_request_past_its_deadline_is_answered_without_a_run() -> None:
    """The time that it waited was all that its client would wait."""

    async def main() -> None:
        b = bench()
        past_s = asyncio.get_running_loop().time() - 1
        first, late, good = b.ask(row(1)), b.ask(row(2), deadline_s=past_s), b.ask(row(3))
        assert fault(await late).kind is Kind.DEADLINE_EXCEEDED
        await asyncio.gather(first, good)
        assert [inputs["x"][:, 0].tolist() for inputs in b.engine.runs] == [[1, 3]]

    on_loop(main)


def test_a_deadline_is_about_waiting() -> None:
    """A request that runs at once runs, however short its deadline; one that waits for company may be too late."""

    async def main() -> None:
        past_s = asyncio.get_running_loop().time() - 1
        arrays(await bench().ask(row(1), deadline_s=past_s))
        delayed = await bench(max_queue_delay_us=1).ask(row(1), deadline_s=past_s)
        assert fault(delayed).kind is Kind.DEADLINE_EXCEEDED

    on_loop(main)


def test_a_client_that_sends_again_at_once_does_not_start_the_engine_twice() -> None:
    """An answer may bring the next request of its connection before `submit` of the others is even done."""

    async def main() -> None:
        runner = HeldRunner()
        b = bench(runner=runner, max_batch_size=0)
        past_s = asyncio.get_running_loop().time() - 1
        b.ask(row(0))
        b.ask(row(1), deadline_s=past_s, then=lambda: b.ask(row(3)))
        b.ask(row(2))
        for left in (2, 1, 0):
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(runner.held) == 1
            runner.release()
            assert b.batcher.idle is (left == 0)
        assert [inputs["x"][0, 0] for inputs in b.engine.runs] == [0, 2, 3]

    on_loop(main)


def test_a_full_queue_rejects_and_says_when_to_come_again() -> None:
    """The rejected request is not queued; when there is room again, it is welcome."""

    async def main() -> None:
        runner = HeldRunner()
        b = bench(runner=runner, max_queue_size=2)
        waiting = [b.ask(row(0))]
        await asyncio.sleep(0)
        waiting += [b.ask(row(1)), b.ask(row(2))]
        with pytest.raises(RequestFault) as caught:
            b.ask(row(3))
        assert caught.value.kind is Kind.UNAVAILABLE
        assert caught.value.retry_after_s > 0
        runner.release()
        await asyncio.sleep(0)
        waiting.append(b.ask(row(4)))
        runner.release()
        await asyncio.sleep(0)
        runner.release()
        assert [arrays(future.result())[0][0, 0] for future in waiting] == [0, 1, 2, 4]

    on_loop(main)


@RUNNERS
def test_a_long_queue_does_not_recurse(runner_type: Callable[[], Runner]) -> None:
    """Five thousand requests run one after another on a stack that stays flat."""

    async def main() -> None:
        b = bench(runner=runner_type(), max_batch_size=0)
        answers = await asyncio.gather(*[b.ask(row(number)) for number in range(5000)])
        assert [arrays(answer)[0][0, 0] for answer in answers] == list(range(5000))

    on_loop(main)


def test_a_client_that_always_sends_again_does_not_recurse() -> None:
    """An answer that brings the next request at once, five thousand times, stays on a flat stack too."""

    async def main() -> None:
        b = bench()
        finished = asyncio.Event()

        def again(left: int) -> None:
            if left:
                b.ask(row(left), then=lambda: again(left - 1))
            else:
                finished.set()

        again(5000)
        await finished.wait()
        assert len(b.engine.runs) == 5000

    on_loop(main)


def test_a_queue_delay_waits_for_company_but_not_for_more_than_a_batch() -> None:
    """With a delay, an idle engine waits; a full batch ends the wait at once."""

    async def main() -> None:
        b = bench(max_batch_size=3, max_queue_delay_us=20_000_000)
        first = b.ask(row(1))
        await asyncio.sleep(0.01)
        assert not first.done()
        others = [b.ask(row(2)), b.ask(row(3))]
        await asyncio.wait_for(asyncio.gather(first, *others), 15)
        assert batch_sizes(b.engine) == [3]

    on_loop(main)


def test_a_queue_delay_ends() -> None:
    """A request without company runs when the delay is over, not before."""

    async def main() -> None:
        b = bench(max_queue_delay_us=30_000)
        started_s = time.monotonic()
        await b.ask(row(1))
        assert time.monotonic() - started_s >= 0.025

    on_loop(main)


def test_requests_that_wait_already_are_not_delayed_again() -> None:
    """When a run ends, what queued meanwhile runs at once, though an answered client sends again at once."""

    async def main() -> None:
        runner = HeldRunner()
        b = bench(runner=runner, max_batch_size=4, max_queue_delay_us=20_000_000)
        b.ask(row(1, rows=4), then=lambda: b.ask(row(9, width=5)))
        await asyncio.sleep(0)
        waiting = b.ask(row(3))
        runner.release()
        await asyncio.sleep(0)
        assert len(runner.held) == 1
        runner.release()
        assert waiting.done()

    on_loop(main)


def test_a_run_is_counted_with_its_times() -> None:
    """Rows, runs, the batch histogram, and compute time for each request of the batch, as Triton bills it."""

    async def main() -> None:
        b = bench(EchoEngine({"x": ("FP32", ["batch", None])}, on_run=lambda _: time.sleep(0.01)))
        await asyncio.gather(b.ask(row(1)), b.ask(row(2, rows=2)))
        assert b.value("nv_inference_count") == 3
        assert b.value("nv_inference_exec_count") == 1
        assert b.value("nv_inference_compute_infer_duration_us") >= 2 * 10_000
        assert b.value("nv_inference_queue_duration_us") > 0

    on_loop(main)


def test_requests_that_ran_one_by_one_are_counted_one_by_one() -> None:
    """After a refused batch: as many runs as requests, each with its own rows and its own time."""
    spent_s: list[float] = []

    def refuse_merged(inputs: Inputs) -> None:
        if inputs["x"].shape[0] > 2:
            raise EngineRefused("too many")
        started_s = time.perf_counter()
        time.sleep(0.05)
        spent_s.append(time.perf_counter() - started_s)

    async def main() -> None:
        b = bench(EchoEngine({"x": ("FP32", ["batch", None])}, on_run=refuse_merged))
        await asyncio.gather(b.ask(row(1)), b.ask(row(2, rows=2)))
        assert b.value("nv_inference_count") == 3
        assert b.value("nv_inference_exec_count") == 2
        assert (b.value("nim_batch_size"), b.value("nim_batch_size", 1)) == (1, 1)
        spent_us = sum(spent_s) * 1e6
        assert spent_us <= b.value("nv_inference_compute_infer_duration_us") < 1.7 * spent_us

    on_loop(main)


def test_a_stopped_thread_ends_after_what_it_is_running() -> None:
    """`stop` lets the run finish and then frees the thread."""

    async def main() -> None:
        before = set(threading.enumerate())
        runner = ThreadRunner()
        (thread,) = set(threading.enumerate()) - before
        b = bench(runner=runner)
        future = b.ask(row(1))
        await asyncio.sleep(0)
        runner.stop()
        arrays(await future)
        await asyncio.to_thread(thread.join, 60)
        assert not thread.is_alive()

    on_loop(main)
