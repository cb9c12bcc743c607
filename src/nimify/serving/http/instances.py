"""Requests row by row: `{"instances": [...], "parameters": {...}}` gives `{"predictions": [...]}`.

The row format of TensorFlow Serving, which Vertex AI's `predict` sends. A row of a service with one input is that
input's value, or an object with its name; with several inputs it is an object with all of them. A prediction is the
value of the only output, or an object with each. Where the model does not take rows, the one instance is the request.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import orjson

from nimify.serving.bulk import LARGE_BYTES, Bulk
from nimify.serving.dataplane import DataPlane
from nimify.serving.failures import failure
from nimify.serving.faults import Kind, RequestFault, invalid
from nimify.serving.http.messages import Body, Reply, Request, Response, fault_response
from nimify.serving.http.router import Handler
from nimify.serving.json_tensors import quoted
from nimify.serving.logs import Log
from nimify.serving.open_inference import parse_object
from nimify.serving.spec import ServiceSpec

_KEYS: Final = frozenset({"instances", "parameters"})


class InstanceInference:
    """Answers requests in instances through the handler of `/v1/infer`; what is long is turned beside the event loop.

    Args:
        typed: The handler of `/v1/infer`.
    """

    def __init__(self, spec: ServiceSpec, typed: Handler, data_plane: DataPlane, bulk: Bulk, log: Log) -> None:
        self._rows = spec.max_batch_size > 0
        self._inputs = tuple(tensor.name for tensor in spec.api.inputs)
        self._outputs = tuple(tensor.name for tensor in spec.api.outputs)
        self._typed = typed
        self._data_plane = data_plane
        self._bulk = bulk
        self._log = log

    def __call__(self, request: Request, reply: Reply) -> None:
        """Start the inference; see `Handler`."""
        self._beside(
            request,
            len(request.body),
            partial(self._typed_request, request.body),
            partial(self._infer, request, reply),
            reply,
            raises=True,
        )

    def _infer(self, request: Request, reply: Reply, turned: tuple[bytes, int]) -> None:
        if request.given_up:
            return
        # As long as what it takes the place of, so the budget of all bodies needs no other account of it.
        request.body, count = turned

        def answered(response: Response) -> None:
            if response.status != 200:
                reply(response)
                return
            work = partial(self._predictions, response.body, count)
            self._beside(request, len(response.body), work, reply, reply, raises=False)

        self._typed(request, answered)

    def _beside(
        self,
        request: Request,
        size: int,
        work: Callable[[], Any],
        then: Callable[[Any], None],
        reply: Reply,
        *,
        raises: bool,
    ) -> None:
        """Do what takes long on a thread, and what does not at once; faults are raised, or are the answer."""

        def failed(error: Exception) -> None:
            if not request.given_up:
                reply(self._failure(request, error))

        def done(result: Any) -> None:
            if request.given_up:
                return
            try:
                then(result)
            except RequestFault as fault:  # counted where it was raised
                reply(fault_response(fault, request.path))

        if size >= LARGE_BYTES:
            self._bulk.run(work, done, failed)
            return
        try:
            result = work()
        except RequestFault as fault:
            if raises:
                self._data_plane.count_failure(fault)
                raise
            failed(fault)
            return
        then(result)

    def _failure(self, request: Request, error: Exception) -> Response:
        fault = failure(error, "request failed", log=self._log, request_id=request.id)
        self._data_plane.count_failure(fault)
        return fault_response(fault, request.path)

    def _typed_request(self, body: Body) -> tuple[bytes, int]:
        """The request as `/v1/infer` takes it, and how many instances it has."""
        document = parse_object(memoryview(body))
        unknown = document.keys() - _KEYS
        if unknown:
            raise invalid(f"There is no field {quoted(min(unknown))}; known are {', '.join(sorted(_KEYS))}.")
        instances = document["instances"]
        if type(instances) is not list or not instances:
            raise invalid("'instances' must be a list of at least one instance.")
        if not self._rows and len(instances) > 1:
            raise invalid("This model takes one instance a request.")
        named = [self._named(instance, number) for number, instance in enumerate(instances)]
        inputs = {name: [row[name] for row in named] for name in self._inputs} if self._rows else dict(named[0])
        parameters = document.get("parameters")
        typed = {"inputs": inputs} if parameters is None else {"inputs": inputs, "parameters": parameters}
        return orjson.dumps(typed), len(instances)

    def _named(self, instance: Any, number: int) -> dict[str, Any]:
        """The inputs of one instance by name."""
        if type(instance) is not dict:
            if len(self._inputs) == 1:
                return {self._inputs[0]: instance}
            raise invalid(f"Instance {number} must be an object with {', '.join(map(quoted, self._inputs))}.")
        for name in self._inputs:
            if name not in instance:
                raise invalid(f"Instance {number} has no {quoted(name)}.")
        if len(instance) > len(self._inputs):
            unknown = min(instance.keys() - set(self._inputs))
            raise invalid(f"Instance {number} has {quoted(unknown)}, which is no input.")
        return instance

    def _predictions(self, body: Body, count: int) -> Response:
        """The answer of `/v1/infer`, row by row."""
        outputs = orjson.loads(memoryview(body))["outputs"]
        if not self._rows:
            return _response([outputs if len(self._outputs) > 1 else outputs[self._outputs[0]]])
        columns = [outputs[name] for name in self._outputs]
        if any(type(column) is not list or len(column) != count for column in columns):
            raise RequestFault(
                Kind.UNSUPPORTED, "The answer of this service is not in rows; send the request as /v1/infer takes it."
            )
        if len(columns) == 1:
            return _response(columns[0])
        return _response([dict(zip(self._outputs, row, strict=True)) for row in zip(*columns, strict=True)])


def _response(predictions: list[Any]) -> Response:
    return Response(200, orjson.dumps({"predictions": predictions}))
