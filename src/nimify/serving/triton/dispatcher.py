"""The queue before Triton: as many requests at once as Triton can run or gather, the rest waits here.

Batches are Triton's affair: it merges what it is sent. So that it has something to merge, it is sent what every
instance of the model can run at a time, and as much again, from which the next batches form. A model that cannot batch
is sent no more than runs at once. What waits beyond that
waits here, where deadlines, the limit of the queue and its metric are ours, as with the embedded engine.

Triton fails a whole batch when one of its requests cannot be processed. A request that was refused while others were
under way is therefore run again with nothing beside it, so that a bad one fails alone.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import deque
from typing import Final

from nimify.metrics.service import ModelMetrics
from nimify.serving.batching import Answer, Job
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.logs import Log
from nimify.serving.triton.connection import ConnectionGone, Reply, TritonConnection
from nimify.serving.triton.statistics import StatisticsReader
from nimify.serving.triton.tensors import AnswerMalformed, TensorCodec, error_text

_DEVICE_FAILED: Final = re.compile(r"cuda|cudnn|cublas", re.IGNORECASE)
_TIMED_OUT: Final = re.compile(r"timeout expired", re.IGNORECASE)
_GONE: Final = "The engine stopped while it had the request; try again later."


class Dispatcher:
    """Sends requests to one running Triton.

    Args:
        port: Of Triton's HTTP.
        codec: Writes requests and reads answers.
        capacity: Requests that Triton can run at once, if each is one row.
        merges: Whether Triton runs requests together; it is then sent twice as many.
        max_queue_size: Requests that may wait, here or there; a further one is rejected.
    """

    def __init__(
        self,
        port: int,
        codec: TensorCodec,
        *,
        capacity: int,
        merges: bool,
        max_queue_size: int,
        statistics: StatisticsReader,
        metrics: ModelMetrics,
        log: Log,
    ) -> None:
        self._port = port
        self._codec = codec
        self._capacity = capacity
        self._merges = merges
        self._max_in_flight = 2 * capacity if merges else capacity
        self._max_queue_size = max_queue_size
        self._statistics = statistics
        self._metrics = metrics
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Job] = deque()
        self._alone: deque[Job] = deque()
        self._in_flight = 0
        self._started = 0
        self._runs_alone = False
        self._idle: list[TritonConnection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._wakeup: asyncio.Handle | None = None
        self._closed = False

    def submit(self, job: Job) -> None:
        """Queue a request.

        Raises:
            RequestFault: The queue is full.
        """
        if self._waiting >= self._max_queue_size:
            raise RequestFault(Kind.UNAVAILABLE, "The queue is full; try again later.", retry_after_s=1)
        job.queued_ns = time.perf_counter_ns()
        if len(self._queue) + self._in_flight < self._capacity:
            job.deadline_s = math.inf  # it runs at once: a deadline, however short, is about waiting in the queue
        self._queue.append(job)
        self._metrics.pending.set(self._waiting)
        self._wake()

    def close(self) -> None:
        """Triton is gone: answer everybody who waits, and let go of the connections."""
        self._closed = True
        self._statistics.close()
        for job in (*self._alone, *self._queue):
            job.finish(_gone())
        self._alone.clear()
        self._queue.clear()
        self._metrics.pending.set(0)
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    @property
    def _waiting(self) -> int:
        """How many requests wait for the engine, here and in Triton: all but those that it can run."""
        return max(0, len(self._queue) + len(self._alone) + self._in_flight - self._capacity)

    def _wake(self) -> None:
        if self._wakeup is None and not self._closed:
            self._wakeup = self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._wakeup = None
        while self._has_room() and (job := self._take()) is not None:
            self._start(job)
        self._metrics.pending.set(self._waiting)

    def _has_room(self) -> bool:
        if self._closed or self._runs_alone:
            return False
        return self._in_flight == 0 if self._alone else self._in_flight < self._max_in_flight

    def _take(self) -> Job | None:
        """The next request that somebody still waits for."""
        now_s = self._loop.time()
        while self._alone or self._queue:
            self._runs_alone = bool(self._alone)
            job = (self._alone or self._queue).popleft()
            if job.cancelled:
                continue
            if now_s < job.deadline_s:
                return job
            job.finish(RequestFault(Kind.DEADLINE_EXCEEDED, "The request's deadline passed while it was queued."))
        self._runs_alone = False
        return None

    def _start(self, job: Job) -> None:
        self._in_flight += 1
        self._started += 1
        started_ns = time.perf_counter_ns()
        waited_ns = started_ns - job.queued_ns
        if job.trace is not None:
            job.trace.started_ns = started_ns
        self._metrics.queue_us.add(waited_ns / 1e3)
        self._metrics.queue_s.observe(waited_ns / 1e9)
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                self._send(connection, job)
                return
        opening = self._loop.create_task(self._open_and_send(job))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _open_and_send(self, job: Job) -> None:
        try:
            connection = await TritonConnection.open(self._port)
        except ConnectionGone:
            self._finished(job, _gone())
            return
        self._send(connection, job)

    def _send(self, connection: TritonConnection, job: Job) -> None:
        had_company, started = self._in_flight > 1, self._started
        left_s = job.deadline_s - self._loop.time()
        timeout_us = 0 if math.isinf(left_s) else max(1, int(left_s * 1e6))

        def done(reply: Reply | None) -> None:
            if reply is not None and connection.usable and not self._closed:
                self._idle.append(connection)
            else:
                connection.close()
            self._statistics.touch()
            shared = self._merges and (had_company or self._started > started)
            if shared and reply is not None and _is_refusal(reply) and not job.cancelled:
                self._in_flight -= 1
                self._alone.append(job)
                self._wake()
                return
            self._finished(job, self._answer(job, reply))

        connection.send(self._codec.request(job.inputs, job.outputs, timeout_us=timeout_us), done)

    def _finished(self, job: Job, answer: Answer) -> None:
        self._in_flight -= 1
        self._runs_alone = False
        self._wake()
        if job.trace is not None:
            job.trace.computed_ns = time.perf_counter_ns()
        job.finish(answer)

    def _answer(self, job: Job, reply: Reply | None) -> Answer:
        if reply is None:
            return _gone()
        if reply.status != 200:
            return self._fault(reply)
        try:
            return self._codec.answer(reply, job.outputs)
        except AnswerMalformed as error:
            self._log.error("Triton's answer cannot be read", reason=str(error))
            return RequestFault(Kind.INTERNAL, "The service failed to process the request.")

    def _fault(self, reply: Reply) -> RequestFault:
        """What a failure of Triton is to our client, without a word of Triton's."""
        text = error_text(reply)
        if _TIMED_OUT.search(text):
            return RequestFault(Kind.DEADLINE_EXCEEDED, "The request's deadline passed while it was queued.")
        if _DEVICE_FAILED.search(text):
            self._log.error("the GPU failed a request", reason=text)
            return RequestFault(Kind.UNAVAILABLE, "The engine failed the request; try again later.", retry_after_s=1)
        if _is_refusal(reply):
            self._log.debug("engine refused a request", reason=text)
            return RequestFault(Kind.REFUSED_BY_MODEL, "The model cannot process these input values.")
        self._log.warning("Triton did not take a request", status=reply.status, reason=text)
        return RequestFault(Kind.UNAVAILABLE, "The engine cannot take the request; try again later.", retry_after_s=1)


def _is_refusal(reply: Reply) -> bool:
    """Whether the model could not be run on what was sent: 400, or 500 when a backend says so."""
    return reply.status in {400, 500}


def _gone() -> RequestFault:
    return RequestFault(Kind.UNAVAILABLE, _GONE, retry_after_s=1)
