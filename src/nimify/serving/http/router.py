"""Which handler answers which request: exact paths and methods, nothing else.

Paths are compared as they were sent. There is no decoding, no normalising and no pattern, so a route cannot be
reached by a second spelling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nimify.serving.faults import Kind, RequestFault
from nimify.serving.http.messages import Reply, Request, Response, fault_response

Handler = Callable[[Request, Reply], None]
"""Answers a request by calling the reply, now or later; raises `RequestFault` for what it refuses at once."""


def always(response: Response) -> Handler:
    """A handler that gives the same answer to everybody."""

    def handler(request: Request, reply: Reply) -> None:
        reply(response)

    return handler


class Router:
    """The table of routes."""

    def __init__(self) -> None:
        self._routes: dict[bytes, dict[bytes, Handler]] = {}
        self._refusals: dict[bytes, str] = {}

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Add a route; GET brings HEAD with it."""
        methods = self._routes.setdefault(path.encode(), {})
        methods[method.encode()] = handler
        if method == "GET":
            methods[b"HEAD"] = handler

    def refuse(self, beginning: str, message: str) -> None:
        """Say why there is nothing below a path, whatever the method; what has a route of its own is answered by it."""
        self._refusals[beginning.encode()] = message

    @property
    def routes(self) -> Mapping[bytes, Mapping[bytes, Handler]]:
        """Handlers by path and method."""
        return self._routes

    def handle(self, request: Request, reply: Reply) -> None:
        """Pass a request to its handler.

        Raises:
            RequestFault: There is no such path, or the handler refuses the request.
        """
        methods: Mapping[bytes, Handler] | None = self._routes.get(request.path)
        if methods is None and request.path == b"*" and request.method == b"OPTIONS":
            methods = self._all_methods()
        if methods is None:
            raise self._unknown(request.path)
        handler = methods.get(request.method)
        if handler is None and request.method == b"OPTIONS":
            reply(Response(200, headers=_allow(methods)))
        elif handler is None:
            reply(_method_not_allowed(request, methods))
        else:
            handler(request, reply)

    def _all_methods(self) -> Mapping[bytes, Handler]:
        return {method: handler for methods in self._routes.values() for method, handler in methods.items()}

    def _unknown(self, path: bytes) -> RequestFault:
        for beginning, message in self._refusals.items():
            if path.startswith(beginning):
                return RequestFault(Kind.UNSUPPORTED, message)
        if path.startswith(b"/v2/models/"):
            message = "There is no such model, version or operation; GET /v2 and /v1/models tell what is served."
            return RequestFault(Kind.NOT_FOUND, message)
        return RequestFault(Kind.NOT_FOUND, "There is no such route; GET /docs shows all of them.")


def _method_not_allowed(request: Request, methods: Mapping[bytes, Handler]) -> Response:
    allowed = b", ".join(sorted(methods)).decode()
    fault = RequestFault(Kind.METHOD_NOT_ALLOWED, f"This route answers {allowed} only.")
    response = fault_response(fault, request.path)
    response.headers += _allow(methods)
    return response


def _allow(methods: Mapping[bytes, Handler]) -> bytes:
    return b"allow: " + b", ".join(sorted({*methods, b"OPTIONS"})) + b"\r\n"
