"""`ModelStreamInfer`: many inferences in one call, side by side, answered in their order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from nimify.serving.batching import Answer, Job
from nimify.serving.bulk import LARGE_RAW_BYTES
from nimify.serving.dataplane import InferenceRequest
from nimify.serving.faults import RequestFault
from nimify.serving.grpc.codec import Content, Part
from nimify.serving.grpc.inference import Inference, ParsedInference
from nimify.serving.grpc.protos import inference_pb2 as pb
from nimify.serving.grpc.server import read_message
from nimify.serving.grpc.tensors import in_stream
from nimify.serving.tracing.trace import RequestTrace

if TYPE_CHECKING:
    from nimify.serving.grpc.call import Call

MOST_STARTED: Final = 64
"""Inferences of one stream that are queued or run; further messages wait."""
MOST_UNSENT_BYTES: Final = 1 << 20
"""Answers that may wait for a client to read them before its next messages are looked at."""
_FINAL: Final = pb.ModelInferResponse(
    parameters={"triton_final_response": pb.InferParameter(bool_param=True)}
).SerializeToString()
"""In a stream, every answer says that it is the last one to its request: clients of models with many answers wait for
it."""


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

        def go_on(parsed: ParsedInference) -> None:
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

    def _parsed(self, request: pb.ModelInferRequest) -> ParsedInference:
        try:
            return self._inference.parsed(request)
        except RequestFault as fault:
            self._inference.data_plane.count_failure(fault)
            raise

    def _infer(self, parsed: ParsedInference, turn: _Turn) -> Job:
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

    def _answer(self, parsed: ParsedInference, answer: Answer) -> Sequence[Part]:
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
