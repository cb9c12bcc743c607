"""A plain HTTP client for the checks of a live service: the standard library's, with deadlines and a size limit."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nimify.conformance.address import Address
from nimify.errors import one_line

MAX_ANSWER_BYTES: Final = 256 << 20
_CHUNK: Final = 1 << 16


class NoAnswer(Exception):
    """The service did not answer; the text says why, in words."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered.

    Attributes:
        status: The HTTP status.
        headers: By lower-case name.
        body: The whole body.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON; `None` when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def content_type(self) -> str:
        """The media type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Client:
    """Asks one service; each request on a connection of its own.

    Args:
        url: Where the service is; a path in it is put before every route.
        timeout_s: How long one request may take.
        headers: Sent with every request, e.g. an API key.
        tls: What to speak TLS with; the system's authorities when left out.

    Raises:
        ConfigError: The URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._address = Address.parse(url, field="--url")
        self._timeout_s = timeout_s
        self._headers = dict(headers or {})
        self._tls = tls

    def get(self, path: str) -> Answer:
        """Send a GET.

        Raises:
            NoAnswer: There is no whole answer in time.
        """
        return self.send("GET", path)

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a POST; raises as `get` does."""
        return self.send("POST", path, body, {"Content-Type": "application/json", **(headers or {})})

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send any request; raises as `get` does."""
        connection = self._connection()
        try:
            connection.request(method, self._address.prefix + path, body, {**self._headers, **(headers or {})})
            response = connection.getresponse()
            content = self._read(response)
        except TimeoutError:
            raise NoAnswer(f"it did not answer {path} within {self._timeout_s:g} seconds") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise NoAnswer(f"{path} could not be asked ({one_line(reason)})") from error
        finally:
            connection.close()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._address.host, self._address.port
        if self._address.secure:
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        deadline = time.monotonic() + self._timeout_s
        content = bytearray()
        while chunk := response.read1(_CHUNK):
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise ValueError(f"the answer is longer than {MAX_ANSWER_BYTES >> 20} MiB")
            if time.monotonic() > deadline:
                raise TimeoutError
        return bytes(content)
