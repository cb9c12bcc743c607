"""How this process serves: where it listens, who may ask, how it logs, how many workers, which limits.

What concerns the model is in `ServiceSpec`; what concerns this machine and this start is here. An option given on the
command line wins over the environment, and the environment over the bundle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from nimify.errors import ConfigError
from nimify.quantities import parse_size
from nimify.serving.logs import LEVELS
from nimify.serving.platform import Platform, platform_of, port_variables
from nimify.serving.ports import GRPC_PORT, HTTP_PORT
from nimify.serving.spec import Limits
from nimify.serving.tracing.settings import TracingSettings
from nimify.serving.triton.settings import TritonSettings

_GRPC_PORT_VARIABLES: Final = ("NIM_GRPC_API_PORT", "NIM_TRITON_GRPC_PORT")
_CERTIFICATES_VARIABLES: Final = ("NIM_SSL_CERTS_PATH", "NIM_SSL_CERT_PATH")
"""NIMs disagree about the name."""
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_MAX_WORKERS: Final = 256
_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What the service proves itself with, and whom it lets in, as PEM files.

    Attributes:
        certificates: The service's certificate, followed by those that lead to its authority.
        key: The private key of that certificate.
        client_authorities: Authorities of which every client must show a certificate; `None` when none is asked for.
    """

    certificates: Path
    key: Path
    client_authorities: Path | None = None


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """How to serve.

    Attributes:
        host: Address to listen on; loopback unless told.
        port: TCP port of HTTP; 0 for any free one.
        grpc: Whether gRPC is served beside HTTP.
        grpc_port: TCP port of gRPC; `None` for 8001, or for any free one when `port` is 0.
        workers: Processes that answer; 1 serves from this one, `None` takes as many as the plan has instances.
        log_level: `trace`, `debug`, `info`, `warning`, `error` or `critical`.
        json_logs: One JSON object a line instead of readable text.
        verify: Whether model files are checked against their digests before they are loaded.
        verify_key: The public key of whoever must have signed the bundle; `None` when it need not be signed.
        tls: What to speak TLS with, on both ports; `None` for plain text.
        api_keys_file: A file with the API keys that are accepted, or a folder of such files (a mounted Secret); `None`
            when everybody may ask.
        open_health: Whether health routes and RPCs answer without a key, as the probes of an orchestrator need it.
        cors_origins: Origins of web pages that may call the service from a browser; `*` for all.
        limits: Limits by name that replace those of the bundle.
        response_cache: Bytes for answers that are remembered, 0 for none; `None` for what the bundle says.
        tracing: How requests are traced; `None` when they are not.
        triton: How Triton executes the model; `None` for the engine that the plan names. gRPC is Triton's own then.
        platform: Whose container contract is kept besides; `None` for none.
    """

    host: str = "127.0.0.1"
    port: int = HTTP_PORT
    grpc: bool = True
    grpc_port: int | None = None
    workers: int | None = None
    log_level: str = "info"
    json_logs: bool = False
    verify: bool = True
    verify_key: Path | None = None
    tls: TlsFiles | None = None
    api_keys_file: Path | None = None
    open_health: bool = True
    cors_origins: tuple[str, ...] = ()
    limits: Mapping[str, Any] | None = None
    response_cache: int | None = None
    tracing: TracingSettings | None = None
    triton: TritonSettings | None = None
    platform: Platform | None = None

    def __post_init__(self) -> None:
        if not self.host:
            # To the system an empty name is every address; nobody who lost a variable's value means that.
            raise ConfigError("must not be empty; 0.0.0.0 stands for every address.", field="host")
        for name, port in (("port", self.port), ("gRPC port", self.effective_grpc_port)):
            if not 0 <= port <= 65535:
                raise ConfigError(f"must be from 0 to 65535, not {port}.", field=name)
        if self.grpc and self.port and self.port == self.effective_grpc_port:
            raise ConfigError(
                f"must be another one than HTTP's, {self.port}.",
                field="gRPC port",
                remedy="Choose one with --grpc-port, or leave gRPC out with --no-grpc.",
            )
        if self.workers is not None and not 1 <= self.workers <= _MAX_WORKERS:
            raise ConfigError(f"must be from 1 to {_MAX_WORKERS}, not {self.workers}.", field="workers")
        if self.triton is not None and (self.workers or 1) > 1:
            raise ConfigError(
                "must be 1 with Triton: it runs the model in threads of its own.",
                field="workers",
                remedy="Send heavy traffic to its gRPC port, past this process.",
            )
        if self.verify_key is not None and not self.verify:
            raise ConfigError(
                "needs the digests of the model files.", field="verify key", remedy="Leave --no-verify out."
            )
        if self.log_level not in LEVELS:
            raise ConfigError(f"must be one of {', '.join(LEVELS)}, not '{self.log_level}'.", field="log level")
        self._check_platform()
        for origin in self.cors_origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ConfigError(
                    f"'{origin}' is no origin; write scheme and host in small letters, without a path: "
                    "https://app.example.com",
                    field="CORS origins",
                )

    def _check_platform(self) -> None:
        """Refuse a health route that, open to everybody, would open inference with it."""
        guarded = self.api_keys_file is not None and self.open_health
        if guarded and self.platform is not None and self.platform.one_route:
            raise ConfigError(
                "must be another route than AIP_PREDICT_ROUTE where API keys are asked for.",
                field="AIP_HEALTH_ROUTE",
                remedy="Name both routes when the model is uploaded, e.g. /health and /predict.",
            )

    @property
    def effective_grpc_port(self) -> int:
        """The port that gRPC is to listen on; 0 for any free one."""
        if self.grpc_port is not None:
            return self.grpc_port
        return GRPC_PORT if self.port else 0

    def workers_for(self, instances: int) -> int:
        """How many processes answer for a plan with so many instances; Triton runs instances by itself."""
        if self.triton is not None:
            return 1
        return self.workers or instances

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
    platform = platform_of(environment)
    found: dict[str, Any] = {} if platform is None else {"platform": platform}
    ports = tuple(("port", variable, _whole_number) for variable in port_variables(platform))
    for field, variable, read in (*ports, *_FIELDS):
        if field not in found and environment.get(variable, "").strip():
            found[field] = read(environment[variable].strip(), variable)
    if platform is not None:
        found.setdefault("port", platform.port)
    if (tls := _tls_files(environment)) is not None:
        found["tls"] = tls
    if (tracing := TracingSettings.if_enabled(environment)) is not None:
        found["tracing"] = tracing
    return found


def _whole_number(text: str, variable: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ConfigError(f"must be a whole number, not '{text}'.", field=variable)
    return int(text)


def _size(text: str, variable: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise ConfigError(f"{error}.", field=variable) from None


def _level(text: str, variable: str) -> str:
    level = "info" if text.lower() == "default" else text.lower()
    if level not in LEVELS:
        raise ConfigError(f"must be one of {', '.join(LEVELS)}, not '{text.lower()}'.", field=variable)
    return level


def _path(text: str, variable: str) -> Path:
    return Path(text)


def _origins(text: str, variable: str) -> tuple[str, ...]:
    return tuple(origin.strip() for origin in text.split(",") if origin.strip())


def _flag(text: str, variable: str) -> bool:
    word = text.lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ConfigError(f"must be 1 or 0, not '{word}'.", field=variable)


def _tls_files(environment: Mapping[str, str]) -> TlsFiles | None:
    """What `NIM_SSL_MODE` asks for: DISABLED, TLS, or MTLS, which asks clients for certificates, too."""
    mode = environment.get("NIM_SSL_MODE", "").strip().upper()
    if mode in {"", "DISABLED"}:
        return None
    if mode not in {"TLS", "MTLS"}:
        raise ConfigError(f"must be DISABLED, TLS or MTLS, not '{mode}'.", field="NIM_SSL_MODE")
    return TlsFiles(
        certificates=_needed(environment, _CERTIFICATES_VARIABLES, mode),
        key=_needed(environment, ("NIM_SSL_KEY_PATH",), mode),
        client_authorities=_needed(environment, ("NIM_SSL_CA_CERTS_PATH",), mode) if mode == "MTLS" else None,
    )


def _needed(environment: Mapping[str, str], variables: tuple[str, ...], mode: str) -> Path:
    for variable in variables:
        if path := environment.get(variable, "").strip():
            return Path(path)
    raise ConfigError(f"must name a file, because NIM_SSL_MODE is {mode}.", field=variables[0])


_Reader = Callable[[str, str], Any]
_FIELDS: Final[tuple[tuple[str, str, _Reader], ...]] = (
    *(("grpc_port", variable, _whole_number) for variable in _GRPC_PORT_VARIABLES),
    ("workers", "NIM_HTTP_MAX_WORKERS", _whole_number),
    ("log_level", "NIM_LOG_LEVEL", _level),
    ("json_logs", "NIM_JSONL_LOGGING", _flag),
    ("grpc", "NIMIFY_GRPC", _flag),
    ("api_keys_file", "NIMIFY_API_KEYS_FILE", _path),
    ("open_health", "NIMIFY_OPEN_HEALTH", _flag),
    ("verify_key", "NIMIFY_VERIFY_KEY", _path),
    ("response_cache", "NIMIFY_RESPONSE_CACHE", _size),
    ("cors_origins", "NIMIFY_CORS_ORIGINS", _origins),
)
"""What a variable sets beside the port, and how it is read; the first one that is not empty wins."""
