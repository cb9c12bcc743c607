"""The Open Inference Protocol over HTTP/1.1, tensors as JSON or as raw bytes."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from nimify.conformance.address import Address
from nimify.conformance.client import Answer, Client, NoAnswer
from nimify.errors import EnvironmentProblem
from nimify.loadtest.pool import Traffic
from nimify.loadtest.protocol import cannot_be_used, described_input, refused
from nimify.loadtest.request import LoadRequest
from nimify.serving.open_inference import HEADER_LENGTH, encode_request
from nimify.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class HttpProtocol:
    """See `WireProtocol`.

    Attributes:
        address: Where the service is.
        client: Asks it.
        binary: Whether tensors travel as raw bytes.
        headers: Beside those of every request.
        tls: What to speak TLS with; `None` for plain text.
    """

    address: Address
    client: Client
    binary: bool
    headers: Mapping[str, str]
    tls: ssl.SSLContext | None = None

    @property
    def name(self) -> str:
        """See `WireProtocol.name`."""
        return "binary" if self.binary else "json"

    @property
    def url(self) -> str:
        """See `WireProtocol.url`."""
        return self.address.url

    def models(self) -> list[str]:
        """See `WireProtocol.models`."""
        rows = self._get("/v1/models").get("data")
        if not isinstance(rows, list):
            return []
        return [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row]

    def inputs(self, model: str) -> tuple[TensorSpec, ...]:
        """See `WireProtocol.inputs`."""
        path = f"/v2/models/{quote(model, safe='')}"
        try:
            return tuple(
                described_input(str(row["name"]), row["datatype"], row["shape"]) for row in self._get(path)["inputs"]
            )
        except (KeyError, TypeError):
            raise EnvironmentProblem(
                f"The service does not describe the model at {path} as the protocol says."
            ) from None

    def check(self, request: LoadRequest) -> None:
        """See `WireProtocol.check`."""
        body, headers = self._encoded(request)
        try:
            answer = self.client.post(_path(request), body, headers)
        except NoAnswer as error:
            raise cannot_be_used(error) from error
        if answer.status != 200:
            raise refused(request, answer.status, answer.body[:400].decode("utf-8", "replace"))

    def traffic(self, requests: Sequence[LoadRequest], timeout_s: float) -> Traffic:
        """See `WireProtocol.traffic`."""
        return Traffic(self.address, [self.wire(request) for request in requests], timeout_s, self.tls)

    def wire(self, request: LoadRequest) -> bytes:
        """A request as HTTP/1.1 has it."""
        body, headers = self._encoded(request)
        lines = {
            "Host": self.address.authority,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **headers,
            **self.headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {self.address.prefix}{_path(request)} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body

    def _encoded(self, request: LoadRequest) -> tuple[bytes, dict[str, str]]:
        body, length = encode_request(request.inputs, request.specs, binary=self.binary)
        if length is None:
            return body, {}
        return body, {HEADER_LENGTH: str(length), "Content-Type": "application/octet-stream"}

    def _get(self, path: str) -> dict[str, Any]:
        answer = self._answer(path)
        body = answer.json()
        if answer.status != 200 or not isinstance(body, dict):
            raise EnvironmentProblem(f"The service answers {path} with {answer.status}.", remedy="Is it ready?")
        return body

    def _answer(self, path: str) -> Answer:
        try:
            return self.client.get(path)
        except NoAnswer as error:
            raise cannot_be_used(error) from error


def _path(request: LoadRequest) -> str:
    return f"/v2/models/{quote(request.model, safe='')}/infer"
