"""How this process serves: where it listens, how it logs, how many workers, which limits.

What concerns the model is in `ServiceSpec`; what concerns this machine and this start is here. An option given on the
command line wins over the environment, and the environment over the bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from nimify.errors import ConfigError
from nimify.serving.logs import LEVELS
from nimify.serving.spec import Limits

_PORT_VARIABLES: Final = ("NIM_HTTP_API_PORT", "NIM_SERVER_PORT", "PORT")
"""In order of precedence: NIM's, the NIM Operator's, Cloud Run's."""
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"", "0", "false", "no", "off"})
_MAX_WORKERS: Final = 256


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """How to serve.

    Attributes:
        host: Address to listen on; loopback unless told.
        port: TCP port; 0 for any free one.
        workers: Processes that answer; 1 serves from this one.
        log_level: `trace`, `debug`, `info`, `warning`, `error` or `critical`.
        json_logs: One JSON object a line instead of readable text.
        verify: Whether model files are checked against their digests before they are loaded.
        limits: Limits by name that replace those of the bundle.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    log_level: str = "info"
    json_logs: bool = False
    verify: bool = True
    limits: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.host:
            # To the system an empty name is every address; nobody who lost a variable's value means that.
            raise ConfigError("must not be empty; 0.0.0.0 stands for every address.", field="host")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"must be from 0 to 65535, not {self.port}.", field="port")
        if not 1 <= self.workers <= _MAX_WORKERS:
            raise ConfigError(f"must be from 1 to {_MAX_WORKERS}, not {self.workers}.", field="workers")
        if self.log_level not in LEVELS:
            raise ConfigError(f"must be one of {', '.join(LEVELS)}, not '{self.log_level}'.", field="log level")

    def limits_over(self, bundle_limits: Limits) -> Limits:
        """The bundle's limits with ours in their place."""
        return replace(bundle_limits, **dict(self.limits or {}))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **options: Any) -> ServiceSettings:
        """Settings from environment variables and options.

        Args:
            environment: Usually `os.environ`.
            options: Fields of this class; those that are `None` count as not given.

        Raises:
            ConfigError: Names the variable or option that is wrong.
        """
        given = {name: value for name, value in options.items() if value is not None}
        return cls(**{**_from_environment(environment), **given})


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variable in _PORT_VARIABLES:
        if environment.get(variable):
            found["port"] = _whole_number(environment, variable)
            break
    if environment.get("NIM_HTTP_MAX_WORKERS"):
        found["workers"] = _whole_number(environment, "NIM_HTTP_MAX_WORKERS")
    if level := environment.get("NIM_LOG_LEVEL", "").lower():
        found["log_level"] = "info" if level == "default" else level
        if found["log_level"] not in LEVELS:
            raise ConfigError(f"must be one of {', '.join(LEVELS)}, not '{level}'.", field="NIM_LOG_LEVEL")
    if "NIM_JSONL_LOGGING" in environment:
        found["json_logs"] = _flag(environment, "NIM_JSONL_LOGGING")
    return found


def _whole_number(environment: Mapping[str, str], variable: str) -> int:
    text = environment[variable].strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ConfigError(f"must be a whole number, not '{text}'.", field=variable)
    return int(text)


def _flag(environment: Mapping[str, str], variable: str) -> bool:
    text = environment[variable].strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ConfigError(f"must be 1 or 0, not '{text}'.", field=variable)
