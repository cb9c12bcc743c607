"""`/v2`: the Open Inference Protocol over REST, raw tensors as the engine takes and gives them.

JSON and the binary extension both ways, request ids, chosen outputs, classification and request timeouts, answered as
Triton answers them, so that `tritonclient.http` and KServe's clients work unchanged.
Sources: https://github.com/kserve/open-inference-protocol (REST) and Triton's protocol extensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from nimify.serving.batching import Answer
from nimify.serving.bulk import LARGE_BYTES, LARGE_RAW_BYTES, Bulk
from nimify.serving.classification import classified
from nimify.serving.dataplane import DataPlane, InferenceRequest, check_sequence, priority, timeout_s
from nimify.serving.engines.engine import Array
from nimify.serving.failures import failure
from nimify.serving.faults import RequestFault, invalid
from nimify.serving.http.messages import JSON, OCTETS, Body, Reply, Request, Response, fault_response, json_response
from nimify.serving.http.router import Handler, Router, always
from nimify.serving.json_tensors import quoted
from nimify.serving.lifecycle import Lifecycle
from nimify.serving.logs import Log
from nimify.serving.metadata import model_metadata, server_metadata
from nimify.serving.open_inference import (
    HEADER_LENGTH,
    MAX_TENSORS,
    OutputTensor,
    check_in_message,
    checked_parameters,
    decode_tensors,
    encode,
    encode_long,
    split,
    split_long,
)
from nimify.serving.raw_tensors import array_from_bytes
from nimify.serving.spec import ServiceSpec
from nimify.tensors import DATATYPES, Datatype, TensorSpec

_HEADER_KEY: Final = HEADER_LENGTH.lower().encode()
_RESERVED: Final = "triton_"


def add_v2_routes(
    router: Router, spec: ServiceSpec, lifecycle: Lifecycle, data_plane: DataPlane, bulk: Bulk, log: Log
) -> None:
    """Add the routes of the protocol for the one model that is served."""
    router.add("GET", "/v2", always(json_response(server_metadata())))
    router.add("GET", "/v2/health/live", always(Response(200)))
    router.add("GET", "/v2/health/ready", _readiness(lifecycle, "Service not ready"))
    infer = V2Inference(spec, data_plane, bulk, log)
    for base in (f"/v2/models/{spec.name}", f"/v2/models/{spec.name}/versions/{spec.model_version}"):
        router.add("GET", base, always(json_response(model_metadata(spec))))
        router.add("GET", f"{base}/ready", _readiness(lifecycle, "Model version not ready"))
        router.add("POST", f"{base}/infer", infer)


def _readiness(lifecycle: Lifecycle, message: str) -> Handler:
    # The protocol says 4xx for "not ready", and Triton answers 400; `/v1/health/ready` answers NIM's 503.
    ready, not_ready = Response(200), json_response({"error": message}, 400)

    def handler(request: Request, reply: Reply) -> None:
        reply(ready if lifecycle.ready else not_ready)

    return handler


@dataclass(slots=True)
class WantedOutput:
    """One output as the client wants it.

    Attributes:
        classes: How many of the largest elements, as text; 0 for the tensor itself.
        binary: As raw bytes.
    """

    name: str
    classes: int
    binary: bool


@dataclass(slots=True)
class ParsedRequest:
    """An inference request, read but not yet checked against the model."""

    id: str | None
    inputs: dict[str, Array]
    datatypes: dict[str, Datatype]
    wanted: list[WantedOutput]
    """In the order of the request; empty for all outputs."""
    binary_default: bool
    timeout_s: float
    priority: int = 0


class V2Inference:
    """Answers `POST …/infer`; what is large is read and written beside the event loop."""

    def __init__(self, spec: ServiceSpec, data_plane: DataPlane, bulk: Bulk, log: Log) -> None:
        self._spec = spec
        self._data_plane = data_plane
        self._bulk = bulk
        self._log = log
        self._fields = {"model_name": spec.name, "model_version": spec.model_version}

    def __call__(self, request: Request, reply: Reply) -> None:
        """Start the inference; see `Handler`."""
        try:
            header_length = _header_length(request)
            if len(request.body) >= LARGE_BYTES and _is_large(request.body, header_length):
                self._bulk.run(
                    partial(self._parse, request, header_length, piecewise=True),
                    partial(self._continue, request, reply),
                    partial(self._fail, request, reply),
                )
                return
            parsed = self._parse(request, header_length)
        except RequestFault as fault:
            self._data_plane.count_failure(fault)
            raise
        self._start(request, reply, parsed)

    def _start(self, request: Request, reply: Reply, parsed: ParsedRequest) -> None:
        def done(answer: Answer) -> bool:
            if _is_large_answer(parsed, answer):
                self._bulk.run(
                    partial(self._response, parsed, names, answer, request.path, piecewise=True),
                    finished,
                    partial(self._fail, request, reply),
                )
                return False
            reply(self._response(parsed, names, answer, request.path))
            return True

        def finished(response: Response) -> None:
            if not request.given_up:  # and counted when it was
                reply(response)
                self._data_plane.count((), request.received_ns)

        names = tuple(output.name for output in parsed.wanted) or tuple(self._data_plane.outputs)
        request.job = self._data_plane.infer(
            InferenceRequest(
                parsed.inputs,
                parsed.datatypes,
                names,
                request.received_ns,
                parsed.timeout_s,
                parsed.priority,
                request.trace,
            ),
            done,
        )

    def _continue(self, request: Request, reply: Reply, parsed: ParsedRequest) -> None:
        """Start what was read beside the event loop, unless nobody waits for it any more."""
        if request.given_up:
            return
        try:
            self._start(request, reply, parsed)
        except RequestFault as fault:
            reply(fault_response(fault, request.path))

    def _fail(self, request: Request, reply: Reply, error: Exception) -> None:
        fault = failure(error, "request failed", log=self._log, request_id=request.id)
        if not request.given_up:
            self._data_plane.count_failure(fault)
            reply(fault_response(fault, request.path))

    def _parse(self, request: Request, header_length: int | None, *, piecewise: bool = False) -> ParsedRequest:
        if header_length == 0:
            return self._raw_request(memoryview(request.body))
        arrays = None
        if piecewise:
            arrays, fields, raw = split_long(request.body, header_length)
        else:
            fields, raw = split(request.body, header_length)
        inputs, datatypes = decode_tensors(fields.get("inputs"), raw, key="inputs", long_arrays=arrays)
        parameters = checked_parameters(fields.get("parameters"), "the request's parameters")
        if parameters:
            _refuse_reserved(parameters)
            check_sequence(parameters)
        binary_default = _boolean(parameters, "binary_data_output")
        return ParsedRequest(
            id=_request_id(fields),
            inputs=inputs,
            datatypes=datatypes,
            wanted=_wanted_outputs(fields.get("outputs"), binary_default),
            binary_default=binary_default,
            timeout_s=timeout_s(parameters) if parameters else 0.0,
            priority=priority(parameters) if parameters else 0,
        )

    def _raw_request(self, body: memoryview) -> ParsedRequest:
        """A header length of 0: the whole body is the only input, or, of BYTES, its only element."""
        if len(self._spec.signature.inputs) != 1:
            raise invalid(f"{HEADER_LENGTH} 0 needs a model with one input; this one has several.")
        (spec,) = self._spec.signature.inputs
        shape = _shape_of_raw(spec, body, self._spec.max_batch_size)
        raw = body if spec.datatype.itemsize else len(body).to_bytes(4, "little") + body.tobytes()
        array = array_from_bytes(raw, spec.datatype, shape, spec.name)
        return ParsedRequest(None, {spec.name: array}, {spec.name: spec.datatype}, [], binary_default=True, timeout_s=0)

    def _response(
        self, parsed: ParsedRequest, names: tuple[str, ...], answer: Answer, path: bytes, *, piecewise: bool = False
    ) -> Response:
        if isinstance(answer, RequestFault):
            return fault_response(answer, path)
        try:
            tensors = self._outputs(parsed, names, answer)
        except RequestFault as fault:
            return fault_response(fault, path)
        fields = {**self._fields, "id": parsed.id} if parsed.id else self._fields
        body, header_length = (encode_long if piecewise else encode)(fields, tensors, key="outputs")
        if header_length is None:
            return Response(200, body, JSON)
        return Response(200, body, OCTETS, b"inference-header-content-length: %d\r\n" % header_length)

    def _outputs(self, parsed: ParsedRequest, names: tuple[str, ...], arrays: Answer) -> list[OutputTensor]:
        specs = self._data_plane.outputs
        wanted = parsed.wanted or [WantedOutput(name, 0, parsed.binary_default) for name in names]
        tensors = []
        for output, array in zip(wanted, arrays, strict=True):  # type: ignore[arg-type]  # arrays: faults were answered
            datatype = specs[output.name].datatype
            if output.classes:
                batched = self._spec.max_batch_size > 0
                labels = self._data_plane.class_labels.get(output.name)
                array = classified(array, datatype, output.classes, output.name, batched=batched, labels=labels)
                datatype = DATATYPES["BYTES"]
            tensors.append(OutputTensor(output.name, datatype, array, output.binary))
        return tensors


def _is_large(body: Body, header_length: int | None) -> bool:
    """Whether reading a body would hold up the event loop: long JSON does, and raw tensors that are much longer."""
    json_length = len(body) if header_length is None else header_length
    return json_length >= LARGE_BYTES or len(body) >= LARGE_RAW_BYTES


def _is_large_answer(parsed: ParsedRequest, answer: Answer) -> bool:
    if isinstance(answer, RequestFault):
        return False
    size = sum([array.nbytes for array in answer])
    return size >= (LARGE_RAW_BYTES if parsed.binary_default else LARGE_BYTES)


def _header_length(request: Request) -> int | None:
    text = request.headers.get(_HEADER_KEY)
    if text is None:
        return None
    if not text.isdigit() or len(text) > 10:
        raise invalid(f"{HEADER_LENGTH} must be a whole number, 0 or more.")
    return int(text)


def _shape_of_raw(spec: TensorSpec, body: memoryview, max_batch_size: int) -> tuple[int, ...]:
    """The shape of an input that came without one: one row, and at most one further free axis."""
    shape = spec.protocol_shape
    if max_batch_size:
        shape[0] = 1
    if not spec.datatype.itemsize:
        return tuple([1 if dim == -1 else dim for dim in shape])
    free = [axis for axis, dim in enumerate(shape) if dim == -1]
    if len(free) > 1:
        raise invalid(f"The shape of {quoted(spec.name)} has several free axes, so it must be given.")
    if free:
        fixed = 1
        for dim in shape:
            fixed *= dim if dim != -1 else 1
        row_bytes = fixed * spec.datatype.itemsize
        if not row_bytes:
            raise invalid(f"The shape of {quoted(spec.name)} must be given.")
        shape[free[0]] = len(body) // row_bytes
    return tuple(shape)


def _request_id(fields: dict[str, Any]) -> str | None:
    given = fields.get("id")
    if given is not None and type(given) is not str:
        raise invalid("'id' must be a string.")
    return given


def _refuse_reserved(parameters: dict[str, Any]) -> None:
    for name in parameters:
        if name.startswith(_RESERVED):
            raise invalid(f"The parameter {quoted(name)} is reserved: names must not start with '{_RESERVED}'.")


def _boolean(parameters: dict[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if type(value) is not bool:
        raise invalid(f"The parameter '{name}' must be true or false.")
    return value


def _wanted_outputs(rows: Any, binary_default: bool) -> list[WantedOutput]:
    if rows is None:
        return []
    if type(rows) is not list or len(rows) > MAX_TENSORS:
        raise invalid(f"'outputs' must be a list of at most {MAX_TENSORS} outputs.")
    return [_wanted_output(row, binary_default) for row in rows]


def _wanted_output(row: Any, binary_default: bool) -> WantedOutput:
    if type(row) is not dict or type(row.get("name")) is not str:
        raise invalid("Each entry of 'outputs' must be an object with a 'name'.")
    given = row.get("parameters")
    if given is None:
        return WantedOutput(row["name"], 0, binary_default)
    parameters = checked_parameters(given, "the parameters of {}", row["name"])
    check_in_message(parameters, row["name"])
    classes = parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes <= 2**31 - 1:
        raise invalid(f"'classification' of {quoted(row['name'])} must be a whole number, 0 or more.")
    binary = _boolean(parameters, "binary_data") if "binary_data" in parameters else binary_default
    return WantedOutput(row["name"], classes, binary)
