"""`POST /v1/infer`: the service's typed API, in the words of its signature after the processors.

`{"inputs": {"name": nested lists}, "outputs"?: [names], "id"?: text, "parameters"?: {"timeout": microseconds}}` gives
`{"outputs": {"name": nested lists}, "model": name, "id": text}`, as openapi.json describes it exactly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import orjson

from nimify.serving.batching import Answer
from nimify.serving.bulk import LARGE_BYTES, Bulk
from nimify.serving.dataplane import DataPlane, InferenceRequest, timeout_s
from nimify.serving.engines.engine import Array
from nimify.serving.failures import failure
from nimify.serving.faults import Kind, RequestFault, invalid
from nimify.serving.http.messages import Reply, Request, Response, fault_response
from nimify.serving.http.router import Router
from nimify.serving.json_tensors import array_from_nested, json_ready, quoted
from nimify.serving.logs import Log
from nimify.serving.long_arrays import LongArrays, LongText
from nimify.serving.open_inference import checked_parameters, parse_object, split_long
from nimify.serving.processors.pipeline import ProcessorPipeline
from nimify.serving.processors.processor import InvalidInput
from nimify.serving.processors.thread import ProcessorThread
from nimify.serving.spec import ServiceSpec
from nimify.serving.validation import InputContract
from nimify.tensors import TensorSpec

_KEYS: Final = frozenset({"inputs", "outputs", "id", "parameters"})
_PARAMETERS: Final = frozenset({"timeout"})
_MAX_ID: Final = 256


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A request after the steps before the engine."""

    tensors: dict[str, Array]
    wanted: tuple[str, ...]
    id: str
    timeout_s: float


class V1Inference:
    """Answers `/v1/infer`.

    Processors that nimify ships cost microseconds and run on the event loop. Anybody else's run on a thread of their
    own, so that a slow one delays its requests and not the health checks. That thread has a queue of its own, as long
    as the engine's may be, and what nobody waits for any more is not run.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        pipeline: ProcessorPipeline,
        data_plane: DataPlane,
        bulk: Bulk,
        log: Log,
        *,
        max_queue_size: int,
    ) -> None:
        self._spec = spec
        self._pipeline = pipeline
        self._data_plane = data_plane
        self._bulk = bulk
        self._log = log
        self._inputs = {tensor.name: tensor for tensor in spec.api.inputs}
        self._outputs = {tensor.name: tensor for tensor in spec.api.outputs}
        self._contract = InputContract(spec.api.inputs, spec.max_batch_size)
        self._engine_outputs = tuple(tensor.name for tensor in spec.signature.outputs)
        self._thread = ProcessorThread() if pipeline.runs_foreign_code else None
        self._max_queue_size = max_queue_size

    def __call__(self, request: Request, reply: Reply) -> None:
        """Start the inference; see `Handler`."""
        if self._thread is None and len(request.body) >= LARGE_BYTES:
            self._bulk.run(
                partial(self._prepare, request),
                partial(self._continue, request, reply),
                partial(self._refuse, request, reply),
            )
            return
        if self._thread is None:
            self._infer(request, reply, partial(self._prepare, request))
            return
        if self._thread.waiting >= self._max_queue_size:
            fault = RequestFault(Kind.UNAVAILABLE, "The queue is full; try again later.", retry_after_s=1)
            self._data_plane.count_failure(fault)
            raise fault

        def prepared(future: asyncio.Future[_Prepared]) -> None:
            try:
                self._infer(request, reply, future.result)
            except RequestFault as fault:
                reply(fault_response(fault, request.path))
            except Exception as error:  # noqa: BLE001 - somebody's code; logged whole, told to the client as an id
                reply(fault_response(self._failure(request, error), request.path))

        self._thread.begin(partial(self._prepare, request), prepared)

    def _infer(self, request: Request, reply: Reply, prepare: Callable[[], _Prepared]) -> None:
        try:
            prepared = prepare()
            _check_awaited(request)
        except RequestFault as fault:
            self._data_plane.count_failure(fault)
            raise

        def done(answer: Answer) -> bool:
            if isinstance(answer, RequestFault) or (self._thread is None and not _is_large(answer)):
                reply(self._response(request, prepared, answer))
                return True
            if self._thread is None:
                self._bulk.run(
                    partial(self._response, request, prepared, answer),
                    partial(written, answer),
                    partial(self._refuse, request, reply),
                )
                return False
            self._thread.complete(partial(self._response, request, prepared, answer), partial(finished, answer))
            return False

        def written(answer: Answer, response: Response) -> None:
            if not request.given_up:  # and counted when it was
                reply(response)
                self._data_plane.count(answer, request.received_ns)

        def finished(answer: Answer, future: asyncio.Future[Response]) -> None:
            error = future.exception()
            if request.given_up:
                return  # and counted when it was
            if error is None:
                reply(future.result())
            else:
                answer = self._failure(request, error)
                reply(fault_response(answer, request.path))
            self._data_plane.count(answer, request.received_ns)

        request.job = self._data_plane.infer(
            InferenceRequest(prepared.tensors, None, (), request.received_ns, prepared.timeout_s, trace=request.trace),
            done,
        )

    def _continue(self, request: Request, reply: Reply, prepared: _Prepared) -> None:
        """Start what was read beside the event loop."""
        try:
            self._infer(request, reply, lambda: prepared)
        except RequestFault as fault:
            reply(fault_response(fault, request.path))

    def _refuse(self, request: Request, reply: Reply, error: Exception) -> None:
        """Answer what failed beside the event loop."""
        if request.given_up:
            return
        fault = self._failure(request, error)
        self._data_plane.count_failure(fault)
        reply(fault_response(fault, request.path))

    def _failure(self, request: Request, error: BaseException) -> RequestFault:
        return failure(error, "processors failed", log=self._log, request_id=request.id)

    def _prepare(self, request: Request) -> _Prepared:
        """Read a request and run the steps before the engine; perhaps on another thread."""
        _check_awaited(request)
        try:
            document, arrays = self._parse(request)
            return _Prepared(
                tensors=self._pipeline.before(self._tensors(document.get("inputs"), arrays)),
                wanted=self._wanted(document.get("outputs")),
                id=document.get("id", request.id),
                timeout_s=_timeout_s(document.get("parameters")),
            )
        except InvalidInput as refusal:
            raise invalid(str(refusal)) from None

    def _parse(self, request: Request) -> tuple[dict[str, Any], LongArrays | None]:
        arrays = None
        if len(request.body) >= LARGE_BYTES:
            arrays, document, _ = split_long(request.body, None)
        else:
            document = parse_object(memoryview(request.body))
        unknown = document.keys() - _KEYS
        if unknown:
            raise invalid(f"There is no field {quoted(min(unknown))}; known are {', '.join(sorted(_KEYS))}.")
        identifier = document.get("id", "")
        if type(identifier) is not str or len(identifier) > _MAX_ID:
            raise invalid(f"'id' must be a string of at most {_MAX_ID} characters.")
        return document, arrays

    def _tensors(self, given: Any, arrays: LongArrays | None) -> dict[str, Array]:
        if type(given) is not dict:
            raise invalid("'inputs' must be an object with one entry for each input.")
        for name in given:
            if name not in self._inputs:
                raise invalid(f"There is no input {quoted(name)}; known are {', '.join(map(quoted, self._inputs))}.")
        tensors = {name: _array(given[name], spec, arrays) for name, spec in self._inputs.items() if name in given}
        self._contract.check(tensors)
        return tensors

    def _wanted(self, names: Any) -> tuple[str, ...]:
        if names is None:
            return tuple(self._outputs)
        if type(names) is not list or not names or not all(type(name) is str for name in names):
            raise invalid("'outputs' must be a list of output names.")
        for name in names:
            if name not in self._outputs:
                raise invalid(f"There is no output {quoted(name)}; known are {', '.join(map(quoted, self._outputs))}.")
        if len(set(names)) != len(names):
            raise invalid("An output is asked for twice.")
        return tuple(names)

    def _response(self, request: Request, prepared: _Prepared, answer: Answer) -> Response:
        """Run the steps after the engine and write the answer; perhaps on another thread."""
        if isinstance(answer, RequestFault):
            return fault_response(answer, request.path)
        try:
            if self._thread is not None:  # somebody's code may change what it is given, even what is remembered
                answer = [array if array.flags.writeable else array.copy() for array in answer]
            tensors = self._pipeline.after(dict(zip(self._engine_outputs, answer, strict=True)))
        except InvalidInput as refusal:
            return fault_response(invalid(str(refusal)), request.path)
        outputs = {name: json_ready(tensors[name], self._outputs[name].datatype) for name in prepared.wanted}
        document = {"outputs": outputs, "model": self._spec.name, "id": prepared.id}
        if _is_large([tensors[name] for name in prepared.wanted]):
            return Response(200, _long_text(document))
        return Response(200, orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY))


def _array(given: Any, spec: TensorSpec, arrays: LongArrays | None) -> Array:
    text = None if arrays is None else arrays.find(given)
    array = given if text is None else text.array(spec.datatype, spec.name)
    if isinstance(array, np.ndarray) and array.ndim == len(spec.shape):
        return array
    if isinstance(array, np.ndarray):
        raise invalid(f"{quoted(spec.name)} must be lists nested {len(spec.shape)} deep.")
    return array_from_nested(array, spec.datatype, len(spec.shape), spec.name)


def _long_text(document: dict[str, Any]) -> memoryview:
    text = LongText()
    outputs = {
        name: text.cut(value) if isinstance(value, np.ndarray) else value for name, value in document["outputs"].items()
    }
    return text.join(orjson.dumps({**document, "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY))


def _is_large(answer: Sequence[Array]) -> bool:
    return sum([array.nbytes for array in answer]) >= LARGE_BYTES


def _check_awaited(request: Request) -> None:
    if request.given_up:
        raise RequestFault(Kind.DEADLINE_EXCEEDED, "Nobody waits for the answer any more.")


def _timeout_s(parameters: Any) -> float:
    checked = checked_parameters(parameters, "'parameters'")
    unknown = checked.keys() - _PARAMETERS
    if unknown:
        raise invalid(f"There is no parameter {quoted(min(unknown))}; known is 'timeout'.")
    return timeout_s(checked)


def add_v1_inference(
    router: Router,
    spec: ServiceSpec,
    pipeline: ProcessorPipeline,
    data_plane: DataPlane,
    bulk: Bulk,
    log: Log,
    *,
    max_queue_size: int,
) -> None:
    """Add `/v1/infer`."""
    handler = V1Inference(spec, pipeline, data_plane, bulk, log, max_queue_size=max_queue_size)
    router.add("POST", "/v1/infer", handler)
