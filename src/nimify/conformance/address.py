"""Where a service is."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from nimify.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Address:
    """A service's address.

    Attributes:
        host: Name or IP address.
        port: TCP port.
        secure: Whether it speaks TLS.
        prefix: What is put before every route; empty for most.
    """

    host: str
    port: int
    secure: bool = False
    prefix: str = ""

    @classmethod
    def parse(cls, url: str, *, field: str = "URL") -> Address:
        """Read a URL; `http://` may be left out.

        Args:
            url: The text.
            field: What it was given as, for messages.

        Raises:
            ConfigError: It is no address of a service.
        """
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        plain = url.isascii() and url.isprintable() and " " not in url
        if not host or not plain or parts.scheme not in {"http", "https"} or parts.query or parts.fragment:
            raise ConfigError(f"'{url}' is no address of a service.", field=field, remedy="Use http://HOST:PORT.")
        secure = parts.scheme == "https"
        return cls(host, port or (443 if secure else 80), secure, parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """Host and port as the Host header has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address."""
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.prefix}"

    def tls(self, authorities: str | None = None) -> ssl.SSLContext | None:
        """What to speak TLS with; `None` for a service that does not.

        Args:
            authorities: A PEM file of authorities to trust instead of the system's.

        Raises:
            ConfigError: That file cannot be used.
        """
        if not self.secure:
            return None
        try:
            return ssl.create_default_context(cafile=authorities)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"'{authorities}' holds no certificates ({error}).", field="--cacert") from error
