"""Which web pages may call the service from a browser: none, unless their origins were named.

An origin is compared as a whole and as it was sent. Cookies and other credentials that a browser adds by itself are
never allowed, so a page can use the service only with a key that it was given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from nimify.serving.http.messages import Request, Response

_REQUEST_HEADERS: Final = (
    b"authorization, content-encoding, content-type, inference-header-content-length, x-api-key, x-request-id"
)
_RESPONSE_HEADERS: Final = b"inference-header-content-length, retry-after, x-request-id"
_MAX_AGE_S: Final = 600


class Cors:
    """Answers browsers that ask for pages of other origins.

    Args:
        origins: Those that may call, e.g. `https://app.example.com`; `*` for all.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def preflight(self, request: Request, methods: Iterable[bytes]) -> Response | None:
        """The answer to a browser that asks before it sends; `None` when it is none, or may not.

        It comes without a key, as browsers send it, and tells nothing but what this service takes from pages.
        """
        if request.method != b"OPTIONS" or b"access-control-request-method" not in request.headers:
            return None
        if not self._allows(request.headers.get(b"origin", b"")):
            return None
        return Response(
            200,
            headers=b"access-control-allow-methods: %s\r\naccess-control-allow-headers: %s\r\n"
            b"access-control-max-age: %d\r\n" % (b", ".join(sorted(methods)), _REQUEST_HEADERS, _MAX_AGE_S),
        )

    def headers(self, origin: bytes | None) -> bytes:
        """Header lines for an answer to a page of this origin."""
        if self._any:
            return b"access-control-allow-origin: *\r\n" + _EXPOSED
        if origin is None or not self._allows(origin):
            return b"vary: Origin\r\n"  # caches must not give this answer to an origin that is allowed
        return b"access-control-allow-origin: " + origin + b"\r\nvary: Origin\r\n" + _EXPOSED

    def _allows(self, origin: bytes) -> bool:
        return self._any or origin in self._origins


_EXPOSED: Final = b"access-control-expose-headers: " + _RESPONSE_HEADERS + b"\r\n"
