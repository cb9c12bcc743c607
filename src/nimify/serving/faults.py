"""Why a request is not answered with a result, without a word of HTTP or gRPC.

Each transport maps `Kind` to its own codes in one table. The text of a fault is written by nimify for the client:
it never holds a library's message, a path or an address.
"""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """What kind of fault; the value is the stable machine-readable type that clients see."""

    INVALID_ARGUMENT = "invalid_argument"
    """The request is wrong; sending it again will not help."""
    REFUSED_BY_MODEL = "refused_by_model"
    """The request is well formed, but the model cannot process its values."""
    UNAUTHENTICATED = "unauthenticated"
    """The caller has not shown a key that is accepted."""
    NOT_FOUND = "not_found"
    """There is no such route, model or version."""
    METHOD_NOT_ALLOWED = "method_not_allowed"
    """The route exists, but not for this method."""
    UNSUPPORTED = "unsupported"
    """The request is sound, but asks for something that is not offered."""
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    """The body is encoded in a way that is not offered."""
    TOO_LARGE = "too_large"
    """The body is longer than the service accepts."""
    TARGET_TOO_LONG = "target_too_long"
    """The request's target is longer than the service accepts."""
    HEADERS_TOO_LARGE = "headers_too_large"
    """The headers are longer or more than the service accepts."""
    EXPECTATION_FAILED = "expectation_failed"
    """The request expects something other than `100-continue`."""
    RECEIPT_TIMEOUT = "receipt_timeout"
    """The request did not arrive in time."""
    UNAVAILABLE = "service_unavailable"
    """Not ready, or overloaded; sending it again later may help."""
    DEADLINE_EXCEEDED = "deadline_exceeded"
    """The answer was not ready in time."""
    INTERNAL = "internal"
    """A fault of ours; the log holds the details under the request's id."""


class RequestFault(Exception):
    """A request that is not answered with a result.

    Attributes:
        kind: What kind of fault.
        message: One sentence for the client.
        retry_after_s: When sending it again may help; 0 when that is not known.
    """

    def __init__(self, kind: Kind, message: str, *, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.retry_after_s = retry_after_s


def detached(fault: RequestFault) -> RequestFault:
    """The fault without what led to it: that would hold all that was in hand, until a garbage collection."""
    fault.__context__ = fault.__cause__ = None
    return fault.with_traceback(None)


def invalid(message: str) -> RequestFault:
    """A fault of kind `INVALID_ARGUMENT`."""
    return RequestFault(Kind.INVALID_ARGUMENT, message)
