"""A model that remembers its answers: a wrapper with the contracts of the model and of its queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from nimify.metrics.service import ModelMetrics
from nimify.serving.batching import Answer, Job
from nimify.serving.bulk import LARGE_RAW_BYTES, Bulk
from nimify.serving.dataplane import Model, RequestQueue
from nimify.serving.engines.engine import Array
from nimify.serving.failures import is_out_of_memory
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.logs import Log
from nimify.serving.response_cache.cache import Answers, ResponseCache, entry_bytes, kept
from nimify.serving.response_cache.key import RequestKeys, hashing_cost
from nimify.serving.spec import ServiceSpec

LARGE_INPUT_BYTES: Final = 256 * 1024
"""From here on making a key is no work for the event loop: SHA-256 takes some two milliseconds for a MiB."""


class CachedModel:
    """Answers what was asked before from memory, and passes everything else on; see `Model` and `RequestQueue`.

    What is remembered is what the engine gave, before it is put into the words of a protocol: so a request over gRPC
    finds the answer to one over HTTP, and processors run every time. Faults are never remembered. Requests that are
    equal and under way at the same time all run.

    What takes long, hashing large inputs and copying large answers, is done beside the event loop.
    """

    def __init__(self, model: Model, cache: ResponseCache, *, bulk: Bulk, metrics: ModelMetrics, log: Log) -> None:
        self._model = model
        self._cache = cache
        self._bulk = bulk
        self._metrics = metrics
        self._log = log
        self._keys = RequestKeys(model.spec.model_digest)
        self._loop = asyncio.get_running_loop()

    @property
    def spec(self) -> ServiceSpec:
        """See `Model.spec`."""
        return self._model.spec

    @property
    def batcher(self) -> RequestQueue | None:
        """See `Model.batcher`."""
        return None if self._model.batcher is None else self

    def submit(self, job: Job) -> None:
        """Answer from memory, or pass on; see `RequestQueue.submit`."""
        started_ns = job.queued_ns = time.perf_counter_ns()
        if hashing_cost(job.inputs) >= LARGE_INPUT_BYTES:
            self._bulk.run(
                partial(self._keys.key, job.inputs, job.outputs),
                partial(self._looked_up, job, started_ns),
                partial(self._no_key, job),
            )
        else:
            self._look_up(job, started_ns, self._keys.key(job.inputs, job.outputs))

    def _look_up(self, job: Job, started_ns: int, key: bytes) -> None:
        answers = self._cache.get(key)
        spent_ns = time.perf_counter_ns() - started_ns
        if job.trace is not None:
            job.trace.looked_up(started_ns, spent_ns, hit=answers is not None)
        if answers is not None:
            self._metrics.cache_hits.add()
            self._metrics.cache_hit_us.add(spent_ns / 1e3)
            self._loop.call_soon(job.finish, answers)  # later, as any answer: whoever asks must know the job first
            return
        self._metrics.cache_misses.add()
        self._metrics.cache_miss_us.add(spent_ns / 1e3)
        job.first = partial(self._answered, key)
        self._pass_on(job)

    def _pass_on(self, job: Job) -> None:
        queue = self._model.batcher
        if queue is None:
            raise RequestFault(Kind.UNAVAILABLE, "The model is not ready yet; try again later.", retry_after_s=1)
        queue.submit(job)

    def _looked_up(self, job: Job, started_ns: int, key: bytes) -> None:
        """Go on with a request whose key was made beside the event loop."""
        self._go_on(job, partial(self._look_up, job, started_ns, key))

    def _no_key(self, job: Job, error: Exception) -> None:
        """A request whose key could not be made runs, and is not remembered."""
        self._log_failure(error)
        self._go_on(job, partial(self._pass_on, job))

    def _go_on(self, job: Job, step: Callable[[], None]) -> None:
        if job.cancelled:
            return
        try:
            step()
        except RequestFault as fault:
            job.finish(fault)

    def _log_failure(self, error: Exception) -> None:
        if is_out_of_memory(error):
            self._log.warning("out of memory", during="response cache")
        else:
            self._log.exception("response cache failed", error)

    def _answered(self, key: bytes, job: Job, answer: Answer) -> None:
        """Remember an answer, before anybody can change it, and hand it over."""
        if isinstance(answer, RequestFault) or entry_bytes(answer) > self._cache.size_bytes:
            job.hand_over(answer)
            return
        if sum([array.nbytes for array in answer]) < LARGE_RAW_BYTES:
            self._remember(key, answer)
            job.hand_over(answer)
            return

        def copied(answers: Answers) -> None:
            self._put(key, answers)
            job.hand_over(answers)

        def not_copied(error: Exception) -> None:
            self._log_failure(error)
            job.hand_over(answer)

        self._bulk.run(partial(kept, answer), copied, not_copied)

    def _remember(self, key: bytes, answer: Sequence[Array]) -> None:
        started_ns = time.perf_counter_ns()
        self._put(key, kept(answer))
        self._metrics.cache_miss_us.add((time.perf_counter_ns() - started_ns) / 1e3)

    def _put(self, key: bytes, answers: Answers) -> None:
        before = self._cache.evictions
        self._cache.put(key, answers)
        self._metrics.cache_evictions.add(self._cache.evictions - before)
        self._metrics.cache_used.set(float(self._cache.used_bytes))
        self._metrics.cache_entries.set(float(len(self._cache)))
