"""`ModelInfer` and `ModelStreamInfer`: the same rules as `/v2` over HTTP, in gRPC's messages."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from nimify.serving.batching import Answer, Job
from nimify.serving.bulk import LARGE_RAW_BYTES, Bulk
from nimify.serving.classification import classified
from nimify.serving.dataplane import DataPlane, InferenceRequest, check_sequence, priority, timeout_s
from nimify.serving.engines.engine import Array
from nimify.serving.faults import Kind, RequestFault, invalid
from nimify.serving.grpc.codec import Content, Part
from nimify.serving.grpc.large_requests import split
from nimify.serving.grpc.protos import inference_pb2 as pb
from nimify.serving.grpc.server import read_message
from nimify.serving.grpc.tensors import ResponseWriter, decoded_inputs, in_stream
from nimify.serving.json_tensors import quoted
from nimify.serving.open_inference import MAX_TENSORS, check_in_message
from nimify.serving.spec import ServiceSpec
from nimify.serving.tracing.trace import RequestTrace
from nimify.tensors import DATATYPES, Datatype

if TYPE_CHECKING:
    from nimify.serving.grpc.call import Call

MOST_STARTED: Final = 64
"""Inferences of one stream that are queued or run; further messages wait."""
MOST_UNSENT_BYTES: Final = 1 << 20
"""Answers that may wait for a client to read them before its next messages are looked at."""

_RESERVED: Final = "triton_"
_FINAL_RESPONSE: Final = "triton_enable_empty_final_response"
_FINAL: Final = pb.ModelInferResponse(
    parameters={"triton_final_response": pb.InferParameter(bool_param=True)}
).SerializeToString()
"""In a stream, every answer says that it is the last one to its request: clients of models with many answers wait for
it."""


@dataclass(slots=True)
class _Parsed:
    """A request, read but not yet checked against the model."""

    id: str
    inputs: dict[str, Array]
    datatypes: dict[str, Datatype]
    names: tuple[str, ...]
    classes: tuple[int, ...]
    timeout_s: float
    priority: int


class Inference:
    """Answers the inference methods for the one model that is served."""

    def __init__(self, spec: ServiceSpec, data_plane: DataPlane, bulk: Bulk) -> None:
        self._spec = spec
        self.data_plane = data_plane
        self.bulk = bulk
        self._writer = ResponseWriter(spec.name, spec.model_version)

    def infer(self, call: Call, content: Content) -> None:
        """`ModelInfer`; see `UnaryMethod.handle`."""

        def refuse(error: Exception) -> None:
            if not call.answered:  # and counted when it was
                if isinstance(error, RequestFault):
                    self.data_plane.count_failure(error)
                call.failed(error)

        if len(content) >= LARGE_RAW_BYTES:
            self.bulk.run(partial(self.parsed_large, content), partial(self._go_on, call), refuse)
            return
        request = read_message(pb.ModelInferRequest.FromString, content)
        try:
            parsed = self.parsed(request)
        except RequestFault as fault:
            self.data_plane.count_failure(fault)
            raise
        self._start(call, parsed)

    def _go_on(self, call: Call, parsed: _Parsed) -> None:
        """Start what was read beside the event loop, unless nobody waits for it any more."""
        if not call.answered:
            try:
                self._start(call, parsed)
            except RequestFault as fault:
                call.fail(fault)

    def _start(self, call: Call, parsed: _Parsed) -> None:
        def done(answer: Answer) -> bool:
            if isinstance(answer, RequestFault):
                call.fail(answer)
                return True
            try:
                message = self.response(parsed, answer)
            except RequestFault as fault:
                call.fail(fault)
            else:
                call.reply(*message)
            return True

        wait_s = min(parsed.timeout_s, call.left_s) if parsed.timeout_s else call.left_s
        request_ = InferenceRequest(
            parsed.inputs,
            parsed.datatypes,
            parsed.names,
            call.received_ns,
            wait_s,
            parsed.priority,
            trace=call.trace,
        )
        call.job = self.data_plane.infer(request_, done)

    def stream(self, call: Call) -> InferenceStream:
        """`ModelStreamInfer`; see `StreamMethod.open`."""
        return InferenceStream(self, call)

    def parsed_large(self, content: Content) -> _Parsed:
        """Read a large message, beside the event loop.

        Raises:
            RequestFault: It is no message of its type, or not well formed, or for another model.
        """
        rest, raw = split(content)
        return self.parsed(read_message(pb.ModelInferRequest.FromString, rest), raw)

    def parsed(self, request: pb.ModelInferRequest, raw: Sequence[memoryview] = ()) -> _Parsed:
        """Read a request, whose raw tensors may have been cut out.

        Raises:
            RequestFault: It is not well formed, or for another model.
        """
        check_model(self._spec, request.model_name, request.model_version)
        parameters = _parameters(request.parameters)
        for name in parameters:
            if name.startswith(_RESERVED) and name != _FINAL_RESPONSE:
                raise invalid(f"The parameter {quoted(name)} is reserved: names must not start with '{_RESERVED}'.")
        if parameters:
            check_sequence(parameters)
        inputs, datatypes = decoded_inputs(request, raw)
        outputs = request.outputs
        if len(outputs) > MAX_TENSORS:
            raise invalid(f"'outputs' must be a list of at most {MAX_TENSORS} outputs.")
        return _Parsed(
            id=request.id,
            inputs=inputs,
            datatypes=datatypes,
            names=tuple([output.name for output in outputs]),
            classes=tuple([_classes(output) for output in outputs]),
            timeout_s=timeout_s(parameters) if parameters else 0.0,
            priority=priority(parameters) if parameters else 0,
        )

    def response(self, parsed: _Parsed, arrays: Any) -> list[Part]:
        """The answer to a request, serialized, in pieces.

        Raises:
            RequestFault: An output cannot be given as it was asked for.
        """
        specs = self.data_plane.outputs
        names = parsed.names or tuple(specs)
        if not any(parsed.classes):
            tensors = [(name, specs[name].datatype, array) for name, array in zip(names, arrays, strict=True)]
            return self._writer.write(parsed.id, tensors)
        batched = self._spec.max_batch_size > 0
        tensors = []
        for name, classes, array in zip(names, parsed.classes, arrays, strict=True):
            datatype = specs[name].datatype
            if classes:
                labels = self.data_plane.class_labels.get(name)
                array = classified(array, datatype, classes, name, batched=batched, labels=labels)
                datatype = DATATYPES["BYTES"]
            tensors.append((name, datatype, array))
        return self._writer.write(parsed.id, tensors)


def is_served(spec: ServiceSpec, name: str, version: str) -> bool:
    """Whether a name and a version, which may be left out, are those of the model."""
    return name == spec.name and version in {"", spec.model_version}


def check_model(spec: ServiceSpec, name: str, version: str) -> None:
    """Refuse what is asked of another model or version.

    Raises:
        RequestFault: It is not the one that is served.
    """
    if not is_served(spec, name, version):
        message = "There is no such model or version; RepositoryIndex tells what is served."
        raise RequestFault(Kind.NOT_FOUND, message)


def _parameters(given: Any) -> dict[str, Any]:
    """Parameters as plain values."""
    if not given:
        return {}
    values: dict[str, Any] = {}
    for name, parameter in given.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None:
            raise invalid(f"The parameter {quoted(name)} has no value.")
        values[name] = getattr(parameter, choice)
    return values


def _classes(output: pb.ModelInferRequest.InferRequestedOutputTensor) -> int:
    if not output.parameters:
        return 0
    parameters = _parameters(output.parameters)
    check_in_message(parameters, output.name)
    classes = parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes <= 2**31 - 1:
        raise invalid(f"'classification' of {quoted(output.name)} must be a whole number, 0 or more.")
    return classes


@dataclass(slots=True, eq=False)
class _Turn:
    """The place of one request in the order of a stream."""

    answer: Sequence[Part] | None = None
    job: Job | None = None
    trace: RequestTrace | None = None


class InferenceStream:
    """One `ModelStreamInfer` call: requests run side by side and are answered in their order; see `Session`.

    A request that fails is answered with the reason, and the stream goes on.
    """

    def __init__(self, inference: Inference, call: Call) -> None:
        self._inference = inference
        self._call = call
        self._turns: deque[_Turn] = deque()
        self._waiting: deque[Content] = deque()
        self._half_closed = False
        self._advancing = False

    @property
    def accepting(self) -> bool:
        """See `Session.accepting`."""
        return not self._waiting

    @property
    def busy(self) -> bool:
        """See `Session.busy`."""
        return bool(self._turns or self._waiting or self._call.outbox.size)

    def message(self, content: Content) -> None:
        """See `Session.message`."""
        self._waiting.append(content)
        self._advance()

    def half_closed(self) -> None:
        """See `Session.half_closed`."""
        self._half_closed = True
        self._advance()

    def writable(self) -> None:
        """See `Session.writable`."""
        self._advance()

    def gone(self, *, timed_out: bool) -> None:
        """See `Session.gone`."""
        self._waiting.clear()
        for turn in self._turns:
            if turn.job is not None and turn.answer is None:
                self._inference.data_plane.give_up(turn.job, timed_out=timed_out)
            if turn.trace is not None and self._call.traces is not None:
                self._call.traces.drop_message(turn.trace)
        self._turns.clear()

    def _advance(self) -> None:
        """Send the answers whose turn it is, and start what waits, as far as there is room."""
        if self._advancing:
            return
        self._advancing = True
        waited = bool(self._waiting)
        try:
            self._send_answers()
            while self._waiting and self._may_start:
                self._start(self._waiting.popleft())
                self._send_answers()
        finally:
            self._advancing = False
        if waited and not self._waiting:
            self._call.accept_more()
        if self._half_closed and not self._turns and not self._waiting:
            self._call.end()

    @property
    def _may_start(self) -> bool:
        return len(self._turns) < MOST_STARTED and self._call.outbox.size < MOST_UNSENT_BYTES

    def _send_answers(self) -> None:
        while self._turns and self._turns[0].answer is not None:
            self._call.send(*(self._turns.popleft().answer or ()))

    def _start(self, content: Content) -> None:
        if len(content) >= LARGE_RAW_BYTES:
            self._start_large(content)
            return
        try:
            request = read_message(pb.ModelInferRequest.FromString, content)
        except RequestFault as fault:
            self.gone(timed_out=False)  # nothing behind it can be trusted
            self._call.fail(fault)
            return
        turn = self._new_turn()
        try:
            turn.job = self._infer(self._parsed(request), turn)
        except RequestFault as fault:
            self._refuse(turn, request.id, fault)

    def _start_large(self, content: Content) -> None:
        """Read it beside the event loop; its turn is taken already, so the order of the answers stays."""
        turn, inference = self._new_turn(), self._inference

        def go_on(parsed: _Parsed) -> None:
            if turn in self._turns:  # otherwise nobody waits for it any more
                try:
                    turn.job = self._infer(parsed, turn)
                except RequestFault as fault:
                    self._refuse(turn, parsed.id, fault)
                self._advance()

        def refuse(error: Exception) -> None:
            if turn not in self._turns:
                return
            if not isinstance(error, RequestFault):
                self.gone(timed_out=False)
                self._call.failed(error)
                return
            inference.data_plane.count_failure(error)
            self._refuse(turn, "", error)
            self._advance()

        inference.bulk.run(partial(inference.parsed_large, content), go_on, refuse)

    def _new_turn(self) -> _Turn:
        turn = _Turn()
        if self._call.traces is not None and self._call.trace is not None:
            turn.trace = self._call.traces.begin_message(self._call.trace)
        self._turns.append(turn)
        return turn

    def _refuse(self, turn: _Turn, id: str, fault: RequestFault) -> None:
        turn.answer = _failure(id, fault)
        self._end_trace(turn, fault)

    def _parsed(self, request: pb.ModelInferRequest) -> _Parsed:
        try:
            return self._inference.parsed(request)
        except RequestFault as fault:
            self._inference.data_plane.count_failure(fault)
            raise

    def _infer(self, parsed: _Parsed, turn: _Turn) -> Job:
        inference = self._inference

        def done(answer: Answer) -> bool:
            turn.job = None
            turn.answer = self._answer(parsed, answer)
            self._end_trace(turn, answer if isinstance(answer, RequestFault) else None)
            self._advance()
            return True

        asked_s, left_s = parsed.timeout_s, self._call.left_s
        wait_s = min(asked_s, left_s) if asked_s and left_s else asked_s or left_s
        received_ns = time.perf_counter_ns()
        started = InferenceRequest(
            parsed.inputs,
            parsed.datatypes,
            parsed.names,
            received_ns,
            wait_s,
            parsed.priority,
            trace=turn.trace,
        )
        return inference.data_plane.infer(started, done)

    def _end_trace(self, turn: _Turn, fault: RequestFault | None) -> None:
        if turn.trace is not None and self._call.traces is not None:
            self._call.traces.end_message(turn.trace, fault)
            turn.trace = None

    def _answer(self, parsed: _Parsed, answer: Answer) -> Sequence[Part]:
        if isinstance(answer, RequestFault):
            return _failure(parsed.id, answer)
        try:
            response = self._inference.response(parsed, answer)
        except RequestFault as fault:
            return _failure(parsed.id, fault)
        return in_stream([*response, _FINAL])


def _failure(id: str, fault: RequestFault) -> Sequence[Part]:
    answer = pb.ModelStreamInferResponse(error_message=fault.message, infer_response=pb.ModelInferResponse(id=id))
    return [answer.SerializeToString()]
