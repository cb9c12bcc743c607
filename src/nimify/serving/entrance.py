"""What every port of the service shares: the certificate that it shows, and the gate that callers pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from nimify.serving.access import Access, OpenAccess
from nimify.serving.api_keys import RotatedKeys
from nimify.serving.logs import Log
from nimify.serving.settings import ServiceSettings
from nimify.serving.tls import ServerTls
from nimify.serving.watch import Check


@dataclass(frozen=True, slots=True)
class Entrance:
    """How callers come in.

    Attributes:
        access: The gate before every route and RPC.
        tls: What to speak TLS with; `None` for plain text.
        checks: Look whether the files of either have changed; for a `Watch` in each process.
    """

    access: Access
    tls: ServerTls | None = None
    checks: tuple[Check, ...] = ()

    @classmethod
    def open(cls, settings: ServiceSettings, *, log: Log) -> Self:
        """Read the keys and certificates that the settings name.

        Raises:
            ConfigError: A file cannot be read or used; names it.
        """
        access: Access = OpenAccess()
        checks: list[Check] = []
        tls = None
        if settings.tls is not None:
            tls = ServerTls(settings.tls, log=log)
            checks.append(tls.refresh)
        if settings.api_keys_file is not None:
            keys = RotatedKeys(
                settings.api_keys_file,
                open_health=settings.open_health,
                health_route="" if settings.platform is None else settings.platform.health_route,
                log=log,
            )
            access = keys.access
            checks.append(keys.refresh)
        return cls(access, tls, tuple(checks))

    @property
    def scheme(self) -> str:
        """What the URL of an HTTP port begins with."""
        return "http" if self.tls is None else "https"
