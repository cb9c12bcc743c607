"""How the service says no: two envelopes, and the statuses that each kind of route answers with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from nimify.serving.faults import Kind
from nimify.serving.http.messages import STATUS_BY_KIND

NIM_ERROR: Final = "Error"
PROTOCOL_ERROR: Final = "ProtocolError"

ANY_REQUEST: Final = (400, 401, 405, 408, 414, 417, 431, 500, 503)
"""What any request may be answered, whatever its route: it is no HTTP, too slow, too long, or one too many."""
INFERENCE: Final = tuple(sorted({*ANY_REQUEST, 413, 415, 504}))
"""What a request with a body may be answered besides."""

_DESCRIPTIONS: Final = {
    400: "The request is wrong, or the model cannot process it; the message says what to change.",
    401: "The service was started with API keys, and no key that it accepts was sent.",
    404: "There is no such route, model or version.",
    405: "The route exists, but not for this method; `Allow` names those that it answers.",
    408: "The request did not arrive in time.",
    413: "The body is longer than the service accepts.",
    414: "The request line is longer than the service accepts.",
    415: "The body has a content encoding other than gzip and deflate.",
    417: "Only `Expect: 100-continue` is understood.",
    431: "The headers are longer than the service accepts.",
    500: "A fault of the service; its log holds the details under the request's id.",
    503: "Not ready, or overloaded; `Retry-After` says when sending it again may help.",
    504: "The answer was not ready in time.",
}


def error_schemas() -> dict[str, Any]:
    """The two envelopes, for `components.schemas`."""
    details = {
        "message": {"type": "string", "description": "What is wrong, for a person."},
        "type": {"type": "string", "enum": sorted(kind.value for kind in Kind), "description": "For programs."},
        "code": {"type": "integer", "enum": sorted(set(STATUS_BY_KIND.values())), "description": "The status again."},
    }
    nested = {"type": "object", "required": list(details), "properties": details, "additionalProperties": False}
    return {
        NIM_ERROR: {
            "type": "object",
            "description": "The union of the two envelopes that NIM clients read: flat, and nested under `error`.",
            "required": ["object", *details, "param", "error"],
            "properties": {"object": {"const": "error"}, **details, "param": {"type": "null"}, "error": nested},
            "additionalProperties": False,
        },
        PROTOCOL_ERROR: {
            "type": "object",
            "description": "The envelope of the Open Inference Protocol.",
            "required": ["error"],
            "properties": {"error": {"type": "string", "description": "What is wrong, for a person."}},
            "additionalProperties": False,
        },
    }


def error_responses(schema: str, statuses: Iterable[int] = ANY_REQUEST) -> dict[str, Any]:
    """The `responses` of an operation for these statuses, in one of the envelopes."""
    return {str(status): {"$ref": f"#/components/responses/{schema}{status}"} for status in statuses}


def error_components() -> dict[str, Any]:
    """Every status in both envelopes, for `components.responses`."""
    return {
        f"{schema}{status}": _response(schema, status)
        for schema in (NIM_ERROR, PROTOCOL_ERROR)
        for status in _DESCRIPTIONS
    }


def _response(schema: str, status: int) -> dict[str, Any]:
    response: dict[str, Any] = {"description": _DESCRIPTIONS[status]}
    if status == 401:
        response["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    if status == 405:
        response["headers"] = {"Allow": {"schema": {"type": "string"}}}
    if status == 503:
        response["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}},
        }
    response["content"] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return response
