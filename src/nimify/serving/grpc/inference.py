"""`ModelInfer`: the same rules as `/v2` over HTTP, in gRPC's messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from nimify.serving.batching import Answer
from nimify.serving.bulk import LARGE_RAW_BYTES, Bulk
from nimify.serving.classification import classified
from nimify.serving.dataplane import DataPlane, InferenceRequest, check_sequence, priority, timeout_s
from nimify.serving.engines.engine import Array
from nimify.serving.faults import Kind, RequestFault, invalid
from nimify.serving.grpc.codec import Content, Part
from nimify.serving.grpc.large_requests import split
from nimify.serving.grpc.protos import inference_pb2 as pb
from nimify.serving.grpc.server import read_message
from nimify.serving.grpc.tensors import ResponseWriter, decoded_inputs
from nimify.serving.json_tensors import quoted
from nimify.serving.open_inference import MAX_TENSORS, check_in_message
from nimify.serving.spec import ServiceSpec
from nimify.tensors import DATATYPES, Datatype

if TYPE_CHECKING:
    from nimify.serving.grpc.call import Call

_RESERVED: Final = "triton_"
_FINAL_RESPONSE: Final = "triton_enable_empty_final_response"


@dataclass(slots=True)
class ParsedInference:
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

    def _go_on(self, call: Call, parsed: ParsedInference) -> None:
        """Start what was read beside the event loop, unless nobody waits for it any more."""
        if not call.answered:
            try:
                self._start(call, parsed)
            except RequestFault as fault:
                call.fail(fault)

    def _start(self, call: Call, parsed: ParsedInference) -> None:
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

    def parsed_large(self, content: Content) -> ParsedInference:
        """Read a large message, beside the event loop.

        Raises:
            RequestFault: It is no message of its type, or not well formed, or for another model.
        """
        rest, raw = split(content)
        return self.parsed(read_message(pb.ModelInferRequest.FromString, rest), raw)

    def parsed(self, request: pb.ModelInferRequest, raw: Sequence[memoryview] = ()) -> ParsedInference:
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
        return ParsedInference(
            id=request.id,
            inputs=inputs,
            datatypes=datatypes,
            names=tuple([output.name for output in outputs]),
            classes=tuple([_classes(output) for output in outputs]),
            timeout_s=timeout_s(parameters) if parameters else 0.0,
            priority=priority(parameters) if parameters else 0,
        )

    def response(self, parsed: ParsedInference, arrays: Any) -> list[Part]:
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
