"""What `--set` means to the process target: where a service listens, and how it serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from nimify.conformance.authorization import key_in
from nimify.errors import ConfigError
from nimify.serving.ports import GRPC_PORT, HTTP_PORT
from nimify.serving.settings import ServiceSettings
from nimify.targets.settings import keys_at, typed

_SILENT: Final = {"warning", "error", "critical"}


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """How a service of the process target listens.

    Attributes:
        host: Address to listen on; loopback unless told.
        port: TCP port of HTTP; 0 for any free one, which the service then keeps.
        grpc_port: TCP port of gRPC; 0 for any free one.
        workers: Processes that answer; 0 for as many as the plan has instances.
        log_level: The least important events that are logged.
        api_keys: File or folder of the keys that callers need; empty for none.
    """

    host: str = "127.0.0.1"
    port: int = HTTP_PORT
    grpc_port: int = GRPC_PORT
    workers: int = 0
    log_level: str = "info"
    api_keys: str = ""

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> ProcessSettings:
        """Settings as they were typed, `port=8080`.

        Raises:
            ConfigError: One is unknown or wrong.
        """
        values = typed(cls, given, target="process")
        if values.get("port") == 0:
            values.setdefault("grpc_port", 0)
        if values.get("log_level") in _SILENT:
            raise ConfigError(
                "the target reads in the service's log when it is ready, which higher levels leave out.",
                field="--set log_level",
                remedy="Use info, debug or trace.",
            )
        if values.get("api_keys"):
            values["api_keys"] = keys_at(values["api_keys"])
        # The service's own checks, before anything is started.
        ServiceSettings(**{name: value for name, value in values.items() if name != "api_keys"})
        return cls(**values)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ProcessSettings:
        """The inverse of `to_dict`; what is missing has its default."""
        return cls(**{field.name: data[field.name] for field in fields(cls) if field.name in data})

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def options(self) -> tuple[str, ...]:
        """The options of `nimify serve`, but for the address."""
        workers = ("--workers", str(self.workers)) if self.workers else ()
        keys = ("--api-keys", self.api_keys) if self.api_keys else ()
        return (*workers, *keys, "--log-level", self.log_level, "--log-format", "json")

    @property
    def key(self) -> Mapping[str, str]:
        """What lets a proof in: one of the keys themselves.

        Raises:
            ConfigError: They cannot be read.
        """
        return key_in(Path(self.api_keys)) if self.api_keys else {}
