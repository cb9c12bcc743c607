"""Batching without waiting: an idle engine runs a request at once, a busy one takes what has queued meanwhile.

A request is put into a queue, and the queue is looked at once per turn of the event loop. So requests that arrive in
one turn run together, and while the engine runs, those that arrive form the next batch. No timer delays anybody; a
delay is an option for engines that gain much more from a full batch than ours do.

Requests are merged only when the shapes of their rows are equal. When the engine refuses a merged batch, its requests
run again one by one, so that a bad one fails alone. All state is touched by the event loop's thread only.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from nimify.metrics.service import ModelMetrics
from nimify.serving.engines.engine import Array, Engine, EngineRefused
from nimify.serving.failures import out_of_memory
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.logs import Log
from nimify.serving.tracing.trace import RequestTrace

Answer = Sequence[Array] | RequestFault
"""One array per wanted output, or why there is none."""

_LOOKAHEAD: Final = 256
"""How many waiting requests are looked through for some that fit the first."""


class Job:
    """One request on its way through the engine.

    Attributes:
        inputs: The arrays by name.
        outputs: Names of the wanted outputs.
        rows: Length of the first axis when rows may be merged, otherwise 1.
        priority: Whom it is put before in the queue: 1 goes first, larger numbers later, and 0 is behind all of them.
        deadline_s: Event-loop time after which nobody waits for the answer.
        cancelled: Set by whoever gave up on the answer.
        first: Sees the answer before the one who waits for it, and hands it over; `None` when nobody does.
        trace: Where the times of a request that is traced are noted.
    """

    __slots__ = (
        "_done",
        "cancelled",
        "deadline_s",
        "first",
        "inputs",
        "key",
        "outputs",
        "priority",
        "queued_ns",
        "rows",
        "trace",
    )

    def __init__(
        self,
        inputs: Mapping[str, Array],
        outputs: tuple[str, ...],
        rows: int,
        deadline_s: float,
        done: Callable[[Answer], None],
        *,
        priority: int = 0,
        trace: RequestTrace | None = None,
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.rows = rows
        self.priority = priority
        self.deadline_s = deadline_s
        self.cancelled = False
        self.queued_ns = 0
        self.key: tuple[tuple[int, ...], ...] = ()
        self._done = done
        self.first: Callable[[Job, Answer], None] | None = None
        self.trace = trace

    def cancel(self) -> None:
        """Give up on the answer: the request does not run unless it runs already."""
        self.cancelled = True

    def finish(self, answer: Answer) -> None:
        """There is an answer: hand it over, by way of `first`, unless nobody waits for it any more."""
        if self.cancelled:
            return
        if self.first is None:
            self._done(answer)
        else:
            self.first(self, answer)

    def hand_over(self, answer: Answer) -> None:
        """Hand the answer over, unless nobody waits for it any more."""
        if not self.cancelled:
            self._done(answer)


@dataclass(slots=True)
class Run:
    """Requests that are run together: what went in, and afterwards what came out and how long it took.

    Attributes:
        merged: Whether all of them were one run of the engine; otherwise each was one of its own.
    """

    jobs: list[Job]
    outputs: tuple[str, ...]
    answers: Sequence[Answer] = ()
    merged: bool = False
    started_ns: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0


class Runner(Protocol):
    """Where runs happen: on the event loop, or on a thread of their own."""

    def start(self, run: Run, execute: Callable[[Run], None], done: Callable[[Run], None]) -> None:
        """Call `execute(run)` somewhere, then `done(run)` on the event loop."""
        ...

    def stop(self) -> None:
        """Free what the runner holds, after what it is running; nothing is started afterwards."""
        ...


class Batcher:
    """The queue before one engine.

    Args:
        engine: Executes the model; never run twice at once.
        output_names: All outputs of the model, in its order.
        max_batch_size: Most rows of one run; 0 or 1 when requests are not merged.
        max_queue_size: Requests that may wait; a further one is rejected.
        max_queue_delay_us: How long a request waits for company when the engine is idle.
        runner: Where the engine runs.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        output_names: tuple[str, ...],
        max_batch_size: int,
        max_queue_size: int,
        max_queue_delay_us: int,
        runner: Runner,
        metrics: ModelMetrics,
        log: Log,
    ) -> None:
        self._engine = engine
        self._input_names = tuple(spec.name for spec in engine.signature.inputs)
        self._output_names = output_names
        self._max_rows = max(max_batch_size, 1)
        self._merges = max_batch_size > 1
        self._max_queue_size = max_queue_size
        self._delay_s = max_queue_delay_us / 1e6
        self._runner = runner
        self._metrics = metrics
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Job] = deque()
        self._busy = False
        self._wakeup: asyncio.Handle | None = None
        self.running_since_s = math.inf
        """When the run that is under way began, on `time.monotonic()`; infinite while there is none."""

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self._busy and not self._queue

    def submit(self, job: Job) -> None:
        """Queue a request.

        Raises:
            RequestFault: The queue is full.
        """
        if len(self._queue) >= self._max_queue_size:
            raise RequestFault(Kind.UNAVAILABLE, "The queue is full; try again later.", retry_after_s=1)
        job.queued_ns = time.perf_counter_ns()
        if not (self._busy or self._queue or self._delay_s):
            job.deadline_s = math.inf  # it runs at once: a deadline, however short, is about waiting in the queue
        if self._merges:
            # In the model's order: clients list their inputs in any.
            job.key = tuple([job.inputs[name].shape[1:] for name in self._input_names])
        if job.priority:
            self._put_before_the_less_urgent(job)
        else:
            self._queue.append(job)
        self._metrics.pending.set(len(self._queue))
        if not self._busy:
            self._wake()

    def _put_before_the_less_urgent(self, job: Job) -> None:
        for position, other in enumerate(self._queue):
            if not other.priority or other.priority > job.priority:
                self._queue.insert(position, job)
                return
        self._queue.append(job)

    def _wake(self) -> None:
        if self._wakeup is not None:
            if not self._delay_s or not self._is_full():
                return
            self._wakeup.cancel()
        elif self._delay_s and not self._is_full():
            self._wakeup = self._loop.call_later(self._delay_s, self._next)
            return
        self._wakeup = self._loop.call_soon(self._next)

    def _is_full(self) -> bool:
        return sum(job.rows for job in self._queue) >= self._max_rows

    def _next(self) -> None:
        self._wakeup = None
        self._busy = True  # from here on, for `_take` may answer a request, and its client may send another at once
        jobs = self._take()
        self._metrics.pending.set(len(self._queue))
        if jobs:
            self._runner.start(Run(jobs, self._wanted(jobs)), self._execute, self._finished)
        else:
            self._busy = False

    def _take(self) -> list[Job]:
        """The first waiting request and those behind it that can run with it."""
        queue, now_s = self._queue, self._loop.time()
        while queue:
            first = queue.popleft()
            if not self._given_up(first, now_s):
                break
        else:
            return []
        jobs, rows = [first], first.rows
        if not self._merges:
            return jobs
        passed_over: list[Job] = []
        while queue and rows < self._max_rows and len(passed_over) < _LOOKAHEAD:
            job = queue.popleft()
            if self._given_up(job, now_s):
                continue
            if job.key == first.key and rows + job.rows <= self._max_rows:
                jobs.append(job)
                rows += job.rows
            else:
                passed_over.append(job)
        queue.extendleft(reversed(passed_over))
        return jobs

    def _given_up(self, job: Job, now_s: float) -> bool:
        if job.cancelled:
            return True
        if now_s < job.deadline_s:
            return False
        job.finish(RequestFault(Kind.DEADLINE_EXCEEDED, "The request's deadline passed while it was queued."))
        return True

    def _wanted(self, jobs: list[Job]) -> tuple[str, ...]:
        outputs = jobs[0].outputs
        return outputs if all(job.outputs == outputs for job in jobs) else self._output_names

    def _execute(self, run: Run) -> None:
        """Run the engine; called by the runner, perhaps on another thread."""
        self.running_since_s = time.monotonic()
        run.started_ns = time.perf_counter_ns()
        if len(run.jobs) > 1:
            try:
                run.answers = self._run_merged(run)
                run.merged = True
                self.running_since_s = math.inf
                return
            except (EngineRefused, _NotRowWise, MemoryError):
                pass  # At least one of them is bad: find out which, so that the others are answered.
            except Exception as error:  # noqa: BLE001 - the same, and the queue must go on whatever happens
                self._log.exception("engine failed on a merged batch", error)
        run.answers = [self._run_alone(run, job) for job in run.jobs]
        self.running_since_s = math.inf

    def _run_merged(self, run: Run) -> list[Answer]:
        jobs = run.jobs
        start = time.perf_counter_ns()
        inputs = {name: np.concatenate([job.inputs[name] for job in jobs]) for name in jobs[0].inputs}
        merged = time.perf_counter_ns()
        results = self._engine.run(inputs, run.outputs)
        ran = time.perf_counter_ns()
        rows = sum(job.rows for job in jobs)
        if any(result.ndim == 0 or result.shape[0] != rows for result in results):
            raise _NotRowWise
        answers: list[Answer] = []
        position = 0
        for job in jobs:
            end = position + job.rows
            parts = [result[position:end] for result in results]
            answers.append(parts if job.outputs == run.outputs else self._chosen(parts, run.outputs, job.outputs))
            position = end
        run.input_ns, run.infer_ns = merged - start, ran - merged
        run.output_ns = time.perf_counter_ns() - ran
        return answers

    @staticmethod
    def _chosen(parts: list[Array], names: tuple[str, ...], wanted: tuple[str, ...]) -> list[Array]:
        by_name = dict(zip(names, parts, strict=True))
        return [by_name[name] for name in wanted]

    def _run_alone(self, run: Run, job: Job) -> Answer:
        self.running_since_s = time.monotonic()
        start = time.perf_counter_ns()
        try:
            return self._engine.run(job.inputs, job.outputs)
        except EngineRefused as refusal:
            self._log.debug("engine refused a request", reason=str(refusal))
            return RequestFault(Kind.REFUSED_BY_MODEL, "The model cannot process these input values.")
        except MemoryError:
            return out_of_memory()
        except Exception as error:  # noqa: BLE001 - a fault of ours must not take the queue with it
            self._log.exception("engine failed", error)
            return RequestFault(Kind.INTERNAL, "The service failed to process the request.")
        finally:
            run.infer_ns += time.perf_counter_ns() - start

    def _finished(self, run: Run) -> None:
        """Hand out the answers; on the event loop."""
        self._busy = False
        if self._queue:
            # By way of the event loop: what has arrived meanwhile joins, and a long queue does not recurse. Before the
            # answers, because a client that sends again at once must not start a new delay for those that wait.
            self._wakeup = self._loop.call_soon(self._next)
        self._count(run)
        for job, answer in zip(run.jobs, run.answers, strict=True):
            job.finish(answer)

    def _count(self, run: Run) -> None:
        metrics = self._metrics
        rows, alone = 0, max(len(run.jobs), 1)
        for job in run.jobs:
            rows += job.rows
            if not run.merged:
                metrics.batch_size.observe(job.rows)
                metrics.run_times.add(job.rows, 0.0, run.infer_ns / alone, 0.0)
            waited_ns = run.started_ns - job.queued_ns
            metrics.queue_us.add(waited_ns / 1e3)
            metrics.queue_s.observe(waited_ns / 1e9)
            if job.trace is not None:
                job.trace.ran(job.queued_ns, run.started_ns, run.input_ns + run.infer_ns + run.output_ns)
        metrics.rows.add(rows)
        metrics.executions.add(1 if run.merged else len(run.jobs))
        metrics.last_run_s.set(time.time())
        if run.merged:
            metrics.batch_size.observe(rows)
            metrics.run_times.add(rows, run.input_ns, run.infer_ns, run.output_ns)
        # As in Triton, each request of a batch is billed the whole of its run.
        billed = len(run.jobs) if run.merged else 1
        metrics.compute_input_us.add(billed * run.input_ns / 1e3)
        metrics.compute_infer_us.add(billed * run.infer_ns / 1e3)
        metrics.compute_output_us.add(billed * run.output_ns / 1e3)


class _NotRowWise(Exception):
    """An output's first axis does not count the rows of the batch."""
