"""The data plane: the only place that knows how to infer. Transports translate to it and from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from nimify.metrics.service import ModelMetrics
from nimify.serving.batching import Answer, Job
from nimify.serving.engines.engine import Array
from nimify.serving.failures import is_out_of_memory, out_of_memory
from nimify.serving.faults import Kind, RequestFault, invalid
from nimify.serving.json_tensors import quoted, whole_number
from nimify.serving.logs import Log
from nimify.serving.spec import ServiceSpec
from nimify.serving.tracing.trace import RequestTrace
from nimify.serving.validation import InputContract
from nimify.tensors import Datatype, TensorSpec

_FAILURE_REASONS: Final = {
    Kind.UNAVAILABLE: "REJECTED",
    Kind.DEADLINE_EXCEEDED: "REJECTED",
    Kind.REFUSED_BY_MODEL: "BACKEND",
    Kind.INTERNAL: "BACKEND",
}
"""Triton's failure reasons; every other kind is OTHER."""


_MAX_TIMEOUT_US: Final = 2**53
_MAX_PRIORITY: Final = 2**64 - 1

Done = Callable[[Answer], bool]
"""Takes the answer; false when more is to be done before the client has it, and `DataPlane.count` is called then."""


class RequestQueue(Protocol):
    """The queue before an engine."""

    def submit(self, job: Job) -> None:
        """Queue a request, to be answered later.

        Raises:
            RequestFault: The queue is full.
        """
        ...


class Model(Protocol):
    """A model that is, or will be, able to answer."""

    @property
    def spec(self) -> ServiceSpec:
        """What it is."""
        ...

    @property
    def batcher(self) -> RequestQueue | None:
        """The queue before its engine; `None` while it cannot answer."""
        ...


@dataclass(slots=True)
class InferenceRequest:
    """What a transport asks for.

    Attributes:
        inputs: The arrays by name.
        datatypes: What the client says they are; `None` when the transport made them from the signature.
        outputs: Names of the wanted outputs; all when empty.
        received_ns: `time.perf_counter_ns()` when the request arrived.
        timeout_s: How long the client wants to wait; 0 for as long as the service allows.
        priority: How urgent it is beside others that wait, see `Job`.
        trace: Where its times are noted, when it is traced.
    """

    inputs: Mapping[str, Array]
    datatypes: Mapping[str, Datatype] | None
    outputs: tuple[str, ...]
    received_ns: int
    timeout_s: float = 0.0
    priority: int = 0
    trace: RequestTrace | None = None


class DataPlane:
    """Validates requests, queues them, and counts what became of them.

    Attributes:
        outputs: What the model gives, by name.
        class_labels: What the classes of an output are called, for those that have labels.
    """

    def __init__(self, model: Model, *, request_timeout_s: float, metrics: ModelMetrics, log: Log) -> None:
        self.model = model
        spec = model.spec
        self._request_timeout_s = request_timeout_s
        self._metrics = metrics
        self._log = log
        self._contract = InputContract(spec.signature.inputs, spec.max_batch_size)
        self.outputs: Mapping[str, TensorSpec] = {output.name: output for output in spec.signature.outputs}
        self.class_labels: Mapping[str, Array] = {}
        self._output_names = tuple(self.outputs)
        self._loop = asyncio.get_running_loop()

    def infer(self, request: InferenceRequest, done: Done) -> Job:
        """Start a request; `done` is called once, on the event loop, unless the job is cancelled.

        Raises:
            RequestFault: It cannot be started: it is wrong, or the service is not ready or overloaded.
        """
        try:
            return self._start(request, done)
        except RequestFault as fault:
            self.count_failure(fault)
            raise

    def _start(self, request: InferenceRequest, done: Done) -> Job:
        batcher = self.model.batcher
        if batcher is None:
            raise RequestFault(Kind.UNAVAILABLE, "The model is not ready yet; try again later.", retry_after_s=1)
        rows = self._contract.check(request.inputs, request.datatypes)
        outputs = self._wanted(request.outputs)
        timeout_s = min(request.timeout_s or self._request_timeout_s, self._request_timeout_s)

        def finish(answer: Answer) -> None:
            try:
                if not done(answer):
                    return
            except Exception as error:  # noqa: BLE001 - a processor's or our own fault: this request's, nobody else's
                answer = self._failure(error)
                done(answer)
            self.count(answer, request.received_ns)

        deadline_s = self._loop.time() + timeout_s
        job = Job(request.inputs, outputs, rows, deadline_s, finish, priority=request.priority, trace=request.trace)
        batcher.submit(job)
        if request.trace is not None:
            request.trace.queued_ns = job.queued_ns
        return job

    def _failure(self, error: Exception) -> RequestFault:
        if is_out_of_memory(error):
            return out_of_memory()
        self._log.exception("answer failed", error)
        return RequestFault(Kind.INTERNAL, "The service failed to make the answer.")

    def _wanted(self, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            return self._output_names
        for name in names:
            if name not in self.outputs:
                known = ", ".join(map(quoted, self._output_names))
                raise invalid(f"There is no output {quoted(name)}; the model gives {known}.")
        if len(set(names)) != len(names):
            raise invalid("An output is asked for twice.")
        return names

    def give_up(self, job: Job, *, timed_out: bool) -> None:
        """Cancel a request whose answer nobody waits for, because its client left or its time is over."""
        job.cancel()
        self._metrics.failure["REJECTED" if timed_out else "CANCELED"].add()
        if timed_out:
            self._metrics.errors[Kind.DEADLINE_EXCEEDED.value].add()

    def count(self, answer: Answer, received_ns: int) -> None:
        """Count what became of a request that ran."""
        if isinstance(answer, RequestFault):
            self.count_failure(answer)
            self._metrics.failed_us.add((time.perf_counter_ns() - received_ns) / 1e3)
            return
        elapsed_ns = time.perf_counter_ns() - received_ns
        self._metrics.success.add()
        self._metrics.request_us.add(elapsed_ns / 1e3)
        self._metrics.duration_s.observe(elapsed_ns / 1e9)

    def count_failure(self, fault: RequestFault) -> None:
        """Count a request that failed before or in the data plane."""
        self._metrics.failure[_FAILURE_REASONS.get(fault.kind, "OTHER")].add()
        error = self._metrics.errors.get(fault.kind.value)
        if error is not None:
            error.add()


def timeout_s(parameters: Mapping[str, Any]) -> float:
    """How long a request may wait in the queue, as its parameter `timeout` says in microseconds; 0 when it does not.

    Raises:
        RequestFault: It is not a whole number, or negative.
    """
    timeout_us = whole_number(parameters.get("timeout", 0))
    if type(timeout_us) is not int or not 0 <= timeout_us <= _MAX_TIMEOUT_US:
        raise invalid("The parameter 'timeout' must be a whole number of microseconds, 0 or more.")
    return timeout_us / 1e6


def priority(parameters: Mapping[str, Any]) -> int:
    """How urgent a request is, as its parameter `priority` says: 1 most of all, 0 when it does not say.

    Raises:
        RequestFault: It is not a whole number, or negative.
    """
    given = whole_number(parameters.get("priority", 0))
    if type(given) is not int or not 0 <= given <= _MAX_PRIORITY:
        raise invalid(f"The parameter 'priority' must be a whole number from 0 to {_MAX_PRIORITY}.")
    return given


def check_sequence(parameters: Mapping[str, Any]) -> None:
    """Check the parameters of a sequence, which mean nothing to a model that remembers nothing, as to Triton's.

    Raises:
        RequestFault: One of them is not what it should be.
    """
    sequence = whole_number(parameters.get("sequence_id", 0))
    if type(sequence) is not str and (type(sequence) is not int or sequence < 0):
        raise invalid("The parameter 'sequence_id' must be a whole number, 0 or more, or a string.")
    for name in ("sequence_start", "sequence_end"):
        if type(parameters.get(name, False)) is not bool:
            raise invalid(f"The parameter '{name}' must be true or false.")
