"""`POST /v1/infer`: the service's typed API, in the words of its signature after the processors.

`{"inputs": {"name": nested lists}, "outputs"?: [names], "id"?: text, "parameters"?: {"timeout": microseconds}}` gives
`{"outputs": {"name": nested lists}, "model": name, "id": text}`, as openapi.json describes it exactly.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from nimify.serving.batching import Answer
from nimify.serving.dataplane import DataPlane, InferenceRequest
from nimify.serving.engines.engine import Array
from nimify.serving.faults import Kind, RequestFault, invalid
from nimify.serving.http.messages import Reply, Request, Response, fault_response
from nimify.serving.http.router import Router
from nimify.serving.json_tensors import array_from_nested, json_ready, quoted
from nimify.serving.open_inference import checked_parameters, parse_object
from nimify.serving.processors.pipeline import ProcessorPipeline
from nimify.serving.processors.processor import InvalidInput
from nimify.serving.spec import ServiceSpec
from nimify.serving.validation import InputContract

_KEYS: Final = frozenset({"inputs", "outputs", "id", "parameters"})
_PARAMETERS: Final = frozenset({"timeout"})
_MAX_TIMEOUT_US: Final = 2**53
_MAX_ID: Final = 256


class V1Inference:
    """Answers `/v1/infer`."""

    def __init__(self, spec: ServiceSpec, pipeline: ProcessorPipeline, data_plane: DataPlane) -> None:
        self._spec = spec
        self._pipeline = pipeline
        self._data_plane = data_plane
        self._inputs = {tensor.name: tensor for tensor in spec.api.inputs}
        self._outputs = {tensor.name: tensor for tensor in spec.api.outputs}
        self._contract = InputContract(spec.api.inputs, spec.max_batch_size)
        self._engine_outputs = tuple(tensor.name for tensor in spec.signature.outputs)

    def __call__(self, request: Request, reply: Reply) -> None:
        """Start the inference; see `Handler`."""
        try:
            document = self._parse(request)
            wanted = self._wanted(document.get("outputs"))
            tensors = self._pipeline.before(self._tensors(document.get("inputs")))
        except InvalidInput as refusal:
            fault = invalid(str(refusal))
            self._data_plane.count_failure(fault)
            raise fault from None
        except RequestFault as fault:
            self._data_plane.count_failure(fault)
            raise
        identifier = document.get("id", request.id)

        def done(answer: Answer) -> None:
            reply(self._response(answer, wanted, identifier, request.path))

        request.job = self._data_plane.infer(
            InferenceRequest(tensors, None, (), request.received_ns, _timeout_s(document.get("parameters"))), done
        )

    def _parse(self, request: Request) -> dict[str, Any]:
        if request.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise RequestFault(Kind.UNSUPPORTED_ENCODING, "Only bodies without a content encoding are understood.")
        document = parse_object(request.body)
        unknown = document.keys() - _KEYS
        if unknown:
            raise invalid(f"There is no field {quoted(min(unknown))}; known are {', '.join(sorted(_KEYS))}.")
        identifier = document.get("id", "")
        if type(identifier) is not str or len(identifier) > _MAX_ID:
            raise invalid(f"'id' must be a string of at most {_MAX_ID} characters.")
        return document

    def _tensors(self, given: Any) -> dict[str, Array]:
        if type(given) is not dict:
            raise invalid("'inputs' must be an object with one entry for each input.")
        for name in given:
            if name not in self._inputs:
                raise invalid(f"There is no input {quoted(name)}; known are {', '.join(map(quoted, self._inputs))}.")
        tensors = {
            name: array_from_nested(given[name], spec.datatype, len(spec.shape), name)
            for name, spec in self._inputs.items()
            if name in given
        }
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

    def _response(self, answer: Answer, wanted: tuple[str, ...], identifier: str, path: bytes) -> Response:
        if isinstance(answer, RequestFault):
            return fault_response(answer, path)
        try:
            tensors = self._pipeline.after(dict(zip(self._engine_outputs, answer, strict=True)))
        except InvalidInput as refusal:
            return fault_response(invalid(str(refusal)), path)
        outputs = {name: json_ready(tensors[name], self._outputs[name].datatype) for name in wanted}
        document = {"outputs": outputs, "model": self._spec.name, "id": identifier}
        return Response(200, orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY))


def _timeout_s(parameters: Any) -> float:
    checked = checked_parameters(parameters, "'parameters'")
    unknown = checked.keys() - _PARAMETERS
    if unknown:
        raise invalid(f"There is no parameter {quoted(min(unknown))}; known is 'timeout'.")
    timeout_us = checked.get("timeout", 0)
    if type(timeout_us) is not int or not 0 <= timeout_us <= _MAX_TIMEOUT_US:
        raise invalid("'timeout' must be a whole number of microseconds, 0 or more.")
    return timeout_us / 1e6


def add_v1_inference(router: Router, spec: ServiceSpec, pipeline: ProcessorPipeline, data_plane: DataPlane) -> None:
    """Add `/v1/infer`."""
    router.add("POST", "/v1/infer", V1Inference(spec, pipeline, data_plane))
