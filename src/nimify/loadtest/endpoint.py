"""Where a service is, and how it is spoken to: `http://`, `https://`, `grpc://` and `grpcs://`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nimify.conformance.address import Address
from nimify.conformance.client import Client
from nimify.errors import ConfigError
from nimify.loadtest.http_protocol import HttpProtocol
from nimify.loadtest.protocol import WireProtocol

_GRPC: Final = {"grpc": "http", "grpcs": "https"}
"""Schemes of gRPC, and those that say the same of HTTP."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and the protocol that is spoken there.

    Attributes:
        address: The address.
        spoken: `json`, `binary` or `grpc`.
    """

    address: Address
    spoken: str

    @classmethod
    def parse(cls, url: str, protocol: str | None = None, *, field: str = "URL") -> Endpoint:
        """Read a URL.

        Args:
            url: The text; `http://` may be left out.
            protocol: `json`, `binary` or `grpc`; `grpc` for a URL of gRPC and `json` for others when left out.
            field: What the URL was given as, for messages.

        Raises:
            ConfigError: It is no address of a service, or not one of that protocol.
        """
        scheme, separator, rest = url.partition("://")
        if not separator or scheme.lower() not in _GRPC:
            if protocol == "grpc":
                raise ConfigError(f"'{url}' is no address of gRPC.", field=field, remedy="Use grpc://HOST:PORT.")
            return cls(Address.parse(url, field=field), protocol or "json")
        if protocol not in {None, "grpc"}:
            raise ConfigError(f"'{url}' is no address of HTTP.", field=field, remedy="Use http://HOST:PORT.")
        try:
            address = Address.parse(f"{_GRPC[scheme.lower()]}://{rest}", field=field)
        except ConfigError:
            address = None
        if address is None or address.prefix or not rest.rstrip("/").endswith(f":{address.port}"):
            raise ConfigError(f"'{url}' is no address of gRPC.", field=field, remedy=f"Use {scheme}://HOST:PORT.")
        return cls(address, "grpc")

    @property
    def metrics_url(self) -> str | None:
        """Where the service tells of itself; `None` when that cannot be known."""
        return None if self.spoken == "grpc" else self.address.url

    def protocol(self, headers: Mapping[str, str], *, timeout_s: float, authorities: str | None) -> WireProtocol:
        """The protocol, ready to speak.

        Args:
            headers: Sent with every request, e.g. an API key.
            timeout_s: How long one request may take.
            authorities: A PEM file of authorities to trust instead of the system's.

        Raises:
            ConfigError: That file cannot be used, or a header cannot be sent.
        """
        tls = self.address.tls(authorities)
        if self.spoken == "grpc":
            from nimify.loadtest.grpc_protocol import GrpcProtocol  # protobuf takes time and memory

            return GrpcProtocol(self.address, headers, timeout_s, tls)
        client = Client(self.address.url, timeout_s=timeout_s, headers=headers, tls=tls)
        return HttpProtocol(self.address, client, self.spoken == "binary", headers, tls)
