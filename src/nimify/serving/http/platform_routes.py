"""The routes of the platform that started the service, in front of the handlers that it has anyway.

Limits, keys, metrics and errors are therefore those of every other route.
"""

from __future__ import annotations

import re
from typing import Final

from nimify.errors import ConfigError
from nimify.serving.access import HEALTH_TARGETS
from nimify.serving.bulk import Bulk
from nimify.serving.dataplane import DataPlane
from nimify.serving.faults import Kind, RequestFault, invalid
from nimify.serving.http.body_form import Form, form_of
from nimify.serving.http.instances import InstanceInference
from nimify.serving.http.messages import Reply, Request, Response
from nimify.serving.http.router import Handler, Router
from nimify.serving.lifecycle import Lifecycle
from nimify.serving.logs import Log
from nimify.serving.open_inference import HEADER_LENGTH
from nimify.serving.platform import Platform
from nimify.serving.spec import ServiceSpec

BINARY_TYPE: Final = b"application/vnd.sagemaker-triton.binary+json"
"""How Triton's users say the length of the JSON part where headers do not get through, as on SageMaker."""
_LENGTH_KEY: Final = HEADER_LENGTH.lower().encode()
_LENGTH_PARAMETER: Final = re.compile(rb"\s*;\s*json-header-size\s*=\s*(\d{1,10})\s*", re.IGNORECASE)
_LENGTH_LINE: Final = re.compile(rb"inference-header-content-length: (\d+)\r\n")


def add_platform_routes(
    router: Router,
    platform: Platform,
    spec: ServiceSpec,
    lifecycle: Lifecycle,
    data_plane: DataPlane,
    bulk: Bulk,
    log: Log,
) -> None:
    """Add the routes of a platform, behind all others: a route that the service has already stays what it is.

    Raises:
        ConfigError: A route would answer for another one.
    """
    health, inference = platform.health_route, platform.inference_route
    known = router.routes
    if health.encode() in known and health.encode() not in HEALTH_TARGETS:
        raise ConfigError(f"'{health}' is another route of the service.", field="AIP_HEALTH_ROUTE")
    if inference.encode() in HEALTH_TARGETS:
        raise ConfigError(f"'{inference}' is a health route of the service.", field="AIP_PREDICT_ROUTE")
    if health and health.encode() not in known:
        router.add("GET", health, _health(lifecycle))
    if inference and b"POST" not in known.get(inference.encode(), {}):
        typed = known[b"/v1/infer"][b"POST"]
        tensors = known[f"/v2/models/{spec.name}/infer".encode()][b"POST"]
        instances = InstanceInference(spec, typed, data_plane, bulk, log) if platform.takes_instances else typed
        router.add("POST", inference, PlatformInference(typed, tensors, instances, data_plane))


def _health(lifecycle: Lifecycle) -> Handler:
    ready = Response(200)

    def handler(request: Request, reply: Reply) -> None:
        if not lifecycle.ready:
            raise RequestFault(Kind.UNAVAILABLE, f"Service is not ready: {lifecycle.reason}.")
        reply(ready)

    return handler


class PlatformInference:
    """Passes an inference request to the handler of its form.

    Args:
        typed: The handler of `/v1/infer`.
        tensors: That of the Open Inference Protocol.
        instances: That of requests in instances.
    """

    def __init__(self, typed: Handler, tensors: Handler, instances: Handler, data_plane: DataPlane) -> None:
        self._handlers = {Form.TYPED: typed, Form.TENSORS: tensors, Form.INSTANCES: instances}
        self._data_plane = data_plane

    def __call__(self, request: Request, reply: Reply) -> None:
        """Start the inference; see `Handler`."""
        if request.headers.get(b"content-type", b"").lower().startswith(BINARY_TYPE):
            try:
                request.headers[_LENGTH_KEY] = _length(request.headers[b"content-type"])
            except RequestFault as fault:
                self._data_plane.count_failure(fault)
                raise
            self._handlers[Form.TENSORS](request, _in_content_type(reply))
        elif _LENGTH_KEY in request.headers:
            self._handlers[Form.TENSORS](request, reply)
        else:
            wants_it = request.headers.get(b"accept", b"").lower().startswith(BINARY_TYPE)
            self._handlers[form_of(request.body)](request, _in_content_type(reply) if wants_it else reply)


def _length(content_type: bytes) -> bytes:
    found = _LENGTH_PARAMETER.fullmatch(content_type, len(BINARY_TYPE))
    if found is None:
        raise invalid("The content type must say how long the JSON part is: ';json-header-size=' and a whole number.")
    return found[1]


def _in_content_type(reply: Reply) -> Reply:
    """Say the length of the JSON part of a binary answer in its content type."""

    def deliver(response: Response) -> None:
        if found := _LENGTH_LINE.search(response.headers):
            content_type = BINARY_TYPE + b";json-header-size=" + found[1]
            response = Response(response.status, response.body, content_type, _LENGTH_LINE.sub(b"", response.headers))
        reply(response)

    return deliver
