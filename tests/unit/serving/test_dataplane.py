"""The data plane: every request is answered once, and counted once for what became of it."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest

from nimify.metrics.registry import Registry
from nimify.metrics.service import ModelMetrics
from nimify.serving.batching import Answer, Batcher
from nimify.serving.dataplane import DataPlane, Done, InferenceRequest
from nimify.serving.engines.engine import EngineRefused
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.logs import Log
from nimify.serving.model import ServedModel
from nimify.serving.runners import InlineRunner
from nimify.serving.spec import ServiceSpec
from nimify.testing.engines import EchoEngine, Inputs


@dataclass
class LoadedModel:
    """What the data plane looks at in a `ServedModel`."""

    spec: ServiceSpec
    batcher: Batcher | None


class Bench:
    """A data plane over an echo engine."""

    def __init__(self, on_run: Callable[[Inputs], None] | None = None, *, loaded: bool = True, queue: int = 9) -> None:
        engine = EchoEngine({"x": ("FP32", ["batch", 2])}, on_run)
        self.registry, self.log = Registry(), io.StringIO()
        metrics, log = ModelMetrics(self.registry, "m", "1"), Log(stream=self.log)
        spec = ServiceSpec("m", "1.0.0", "1", "m", (), "", "echo", engine.signature, engine.signature, max_batch_size=4)
        batcher = Batcher(
            engine,
            output_names=("x_out",),
            max_batch_size=4,
            max_queue_size=queue,
            max_queue_delay_us=0,
            runner=InlineRunner(),
            metrics=metrics,
            log=log,
        )
        model = cast(ServedModel, LoadedModel(spec, batcher if loaded else None))
        self.plane = DataPlane(model, request_timeout_s=60, metrics=metrics, log=log)

    def counts(self) -> dict[str, float]:
        """Successes and failures by reason, those that are not 0."""
        found = {
            series.label_values[2] if series.metric.name.endswith("failure") else "SUCCESS": self.registry.total(
                series.first_cell
            )
            for series in self.registry.series
            if series.metric.name in {"nv_inference_request_success", "nv_inference_request_failure"}
        }
        return {name: count for name, count in found.items() if count}


def into(answers: list[Answer]) -> Done:
    """A client that puts its answers into a list."""

    def done(answer: Answer) -> bool:
        answers.append(answer)
        return True

    return done


def request(
    rows: int = 1, *, outputs: tuple[str, ...] = (), timeout_s: float = 0.0, name: str = "x"
) -> InferenceRequest:
    inputs = {name: np.ones((rows, 2), dtype="f4")}
    return InferenceRequest(inputs, None, outputs, time.perf_counter_ns(), timeout_s)


def refuse(_: Inputs) -> None:
    raise EngineRefused("no")


def crash(_: Inputs) -> None:
    raise OSError("/secret")


@pytest.mark.parametrize(("on_run", "reason"), [(None, "SUCCESS"), (refuse, "BACKEND"), (crash, "BACKEND")])
def test_what_ran_is_counted_by_its_answer(on_run: Callable[[Inputs], None] | None, reason: str) -> None:
    """Success, or a failure of the engine."""

    async def main() -> None:
        b = Bench(on_run)
        answers: list[Answer] = []
        b.plane.infer(request(), into(answers))
        await asyncio.sleep(0)
        assert len(answers) == 1
        assert isinstance(answers[0], RequestFault) is (reason != "SUCCESS")
        assert b.counts() == {reason: 1}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("bench_options", "ask", "kind", "reason"),
    [
        ({"loaded": False}, {}, Kind.UNAVAILABLE, "REJECTED"),
        ({"queue": 0}, {}, Kind.UNAVAILABLE, "REJECTED"),
        ({}, {"rows": 5}, Kind.INVALID_ARGUMENT, "OTHER"),
        ({}, {"name": "y"}, Kind.INVALID_ARGUMENT, "OTHER"),
        ({}, {"outputs": ("nope",)}, Kind.INVALID_ARGUMENT, "OTHER"),
        ({}, {"outputs": ("x_out", "x_out")}, Kind.INVALID_ARGUMENT, "OTHER"),
    ],
)
def test_what_cannot_start_is_raised_and_counted(
    bench_options: dict[str, Any], ask: dict[str, Any], kind: Kind, reason: str
) -> None:
    """At once, and nobody is called back."""

    async def main() -> None:
        b = Bench(**bench_options)
        answers: list[Answer] = []
        with pytest.raises(RequestFault) as caught:
            b.plane.infer(request(**ask), into(answers))
        await asyncio.sleep(0)
        assert caught.value.kind is kind
        assert answers == []
        assert b.counts() == {reason: 1}

    asyncio.run(main())


def test_a_client_may_wait_for_less_but_not_for_longer() -> None:
    """The service's own deadline is the longest."""

    async def main() -> None:
        b = Bench()
        b.plane.infer(request(), into([]))  # runs at once; deadlines are for those that wait
        now_s = asyncio.get_running_loop().time()
        for asked_s, given_s in ((0.0, 60), (1.0, 1), (1e9, 60)):
            job = b.plane.infer(request(timeout_s=asked_s), into([]))
            assert job.deadline_s == pytest.approx(now_s + given_s, abs=0.5)

    asyncio.run(main())


def test_an_answer_that_cannot_be_made_is_our_fault_and_nobody_elses() -> None:
    """The client is told without the reason, its neighbour in the batch gets its own."""

    async def main() -> None:
        b = Bench()
        first: list[Answer] = []
        second: list[Answer] = []

        def fail_once(answer: Answer) -> bool:
            if not isinstance(answer, RequestFault):
                raise KeyError("/secret")
            return into(first)(answer)

        b.plane.infer(request(), fail_once)
        b.plane.infer(request(), into(second))
        await asyncio.sleep(0)
        (fault,) = first
        assert isinstance(fault, RequestFault)
        assert fault.kind is Kind.INTERNAL
        assert "secret" not in fault.message
        assert not isinstance(second[0], RequestFault)
        assert "KeyError" in b.log.getvalue()
        assert b.counts() == {"SUCCESS": 1, "BACKEND": 1}

    asyncio.run(main())


@pytest.mark.parametrize(("timed_out", "reason"), [(True, "REJECTED"), (False, "CANCELED")])
def test_a_request_that_is_given_up_is_counted_once(timed_out: bool, reason: str) -> None:
    """Its late answer reaches nobody and counts for nothing."""

    async def main() -> None:
        b = Bench()
        answers: list[Answer] = []
        job = b.plane.infer(request(), into(answers))
        b.plane.give_up(job, timed_out=timed_out)
        await asyncio.sleep(0)
        assert answers == []
        assert b.counts() == {reason: 1}

    asyncio.run(main())


def test_an_answer_that_is_still_being_made_is_not_counted_yet() -> None:
    """Its transport counts it, when it knows what became of it."""

    async def main() -> None:
        b = Bench()
        asked = request()
        b.plane.infer(asked, lambda answer: False)
        await asyncio.sleep(0)
        assert b.counts() == {}
        b.plane.count(RequestFault(Kind.INTERNAL, "The processors failed."), asked.received_ns)
        assert b.counts() == {"BACKEND": 1}

    asyncio.run(main())
