"""Who may ask: one gate in front of every route and every RPC.

Without keys it stands open. With keys it is shut to everything but what it was told to leave open, whether or not
there is such a route: a route that somebody adds and forgets here is shut, and one that does not exist cannot be told
from one that does.

Targets are compared as they were sent, and so does the router compare them: there is no second spelling by which a
route could be reached past the gate.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Final, Protocol

from nimify.serving.faults import Kind, RequestFault

HEALTH_TARGETS: Final = frozenset(
    {
        b"/v1/health/live",
        b"/v1/health/ready",
        b"/v2/health/live",
        b"/v2/health/ready",
        b"/grpc.health.v1.Health/Check",
        b"/grpc.health.v1.Health/Watch",
        b"/inference.GRPCInferenceService/ServerLive",
        b"/inference.GRPCInferenceService/ServerReady",
    }
)
"""What orchestrators ask, over HTTP and gRPC."""

_MAX_KEY: Final = 4096
_BEARER: Final = b"bearer "


class Access(Protocol):
    """Decides about one request or call; the same for every transport."""

    def check(self, target: bytes, headers: Mapping[bytes, bytes]) -> None:
        """Return if the caller may go on.

        Args:
            target: The path of an HTTP request without its query, or the full name of an RPC:
                `/package.Service/Method`.
            headers: Of the request, or the metadata of the call: values by lower-case name.

        Raises:
            RequestFault: `UNAUTHENTICATED`; says what to send.
        """
        ...


class OpenAccess:
    """Lets everybody in."""

    def check(self, target: bytes, headers: Mapping[bytes, bytes]) -> None:
        """See `Access.check`."""


class KeyDigests:
    """The keys that are accepted, as digests under a secret of this process: the keys themselves are not kept."""

    def __init__(self, keys: frozenset[bytes]) -> None:
        self._secret = secrets.token_bytes(32)
        self._digests = tuple(self._digest(key) for key in keys)

    def accept(self, key: bytes) -> bool:
        """Whether it is one of the keys; takes equally long for every wrong key, and compares with all of them."""
        digest = self._digest(key)
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(digest, known)
        return found

    def _digest(self, key: bytes) -> bytes:
        return hashlib.blake2b(key, key=self._secret, digest_size=32).digest()


class KeyAccess:
    """Lets in who shows a key, as `Authorization: Bearer KEY` or as `X-API-Key: KEY`.

    Attributes:
        keys: Those that are accepted now; replaced as a whole when they change.
    """

    def __init__(self, keys: KeyDigests, *, open_targets: frozenset[bytes] = HEALTH_TARGETS) -> None:
        self.keys = keys
        self._open_targets = open_targets

    def check(self, target: bytes, headers: Mapping[bytes, bytes]) -> None:
        """See `Access.check`."""
        if target in self._open_targets:
            return
        shown = _shown_keys(headers)
        if not shown:
            raise _refusal("An API key is needed: send it as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'.")
        for key in shown:
            if len(key) <= _MAX_KEY and self.keys.accept(key):
                return
        raise _refusal("The API key is not accepted.")


def _shown_keys(headers: Mapping[bytes, bytes]) -> list[bytes]:
    shown = []
    authorization = headers.get(b"authorization", b"")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        shown.append(authorization[len(_BEARER) :].strip(b" \t"))
    if key := headers.get(b"x-api-key"):
        shown.append(key)
    return shown


def _refusal(message: str) -> RequestFault:
    return RequestFault(Kind.UNAUTHENTICATED, message)
