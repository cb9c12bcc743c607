"""Where a revision listens: the sockets that its supervisor holds, and passes on from one revision to the next."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from nimify.errors import NimifyError
from nimify.serving.listener import bind, url_of
from nimify.targets.process.settings import ProcessSettings


@dataclass
class Place:
    """Where a revision listens, and how.

    Attributes:
        settings: As ordered.
        listeners: The sockets by protocol.
    """

    settings: ProcessSettings
    listeners: dict[str, socket.socket] = field(default_factory=dict)

    @classmethod
    def open(cls, settings: ProcessSettings, present: Place | None) -> Place:
        """The sockets that are asked for: those of the present place where they are the same, and new ones.

        Raises:
            EnvironmentProblem: An address cannot be had.
        """
        place = cls(settings)
        try:
            for protocol, port in place.ports.items():
                shared = None if present is None else present._shared(settings, protocol)
                place.listeners[protocol] = shared or bind(settings.host, port)
        except NimifyError:
            place.close(but=present)
            raise
        return place

    @property
    def ports(self) -> dict[str, int]:
        """The ports that were ordered, by protocol."""
        return {"http": self.settings.port, "grpc": self.settings.grpc_port}

    @property
    def url(self) -> str:
        """Where it answers."""
        return url_of(self.listeners["http"])

    @property
    def descriptors(self) -> dict[str, int]:
        """The numbers of the sockets."""
        return {name: listener.fileno() for name, listener in self.listeners.items()}

    def close(self, *, but: Place | None = None) -> None:
        """Close its sockets, except those that another place has as well."""
        kept = set() if but is None else set(but.listeners.values())
        for listener in self.listeners.values():
            if listener not in kept:
                listener.close()

    def _shared(self, settings: ProcessSettings, protocol: str) -> socket.socket | None:
        """Its socket for a protocol, when the settings ask for the same address."""
        same = (self.settings.host, self.ports[protocol]) == (settings.host, Place(settings).ports[protocol])
        return self.listeners[protocol] if same else None
