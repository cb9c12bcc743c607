"""How Triton is run on this machine."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from nimify.errors import ConfigError, EnvironmentProblem
from nimify.serving.ports import METRICS_PORT

LOOPBACK: Final = "127.0.0.1"
DEFAULT_PROGRAM: Final = "tritonserver"
DEFAULT_HTTP_PORT: Final = 8080
"""Where NIMs keep Triton's own HTTP."""
ENGINES: Final = ("onnxruntime", "triton")
"""What can execute a model: ONNX Runtime in the service's process, or a Triton beside it."""
_MAX_VERBOSE: Final = 5


@dataclass(frozen=True, slots=True)
class TritonSettings:
    """How to run Triton.

    Attributes:
        program: The `tritonserver` to start, as a path or as a name on PATH.
        http_port: Loopback port of Triton's own HTTP, which only our front speaks to; `None` for 8080, or for any free
            one when the service itself takes any.
        metrics_port: Port of Triton's own metrics; `None` for 8002, or for any free one likewise.
        log_verbose: Triton's level of detail, 0 to 5.
    """

    program: str = DEFAULT_PROGRAM
    http_port: int | None = None
    metrics_port: int | None = None
    log_verbose: int = 0

    def __post_init__(self) -> None:
        for name, port in (("Triton's HTTP port", self.http_port), ("Triton's metrics port", self.metrics_port)):
            if port is not None and not 0 <= port <= 65535:
                raise ConfigError(f"must be from 0 to 65535, not {port}.", field=name)
        if not 0 <= self.log_verbose <= _MAX_VERBOSE:
            raise ConfigError(f"must be from 0 to {_MAX_VERBOSE}, not {self.log_verbose}.", field="log verbose")

    @classmethod
    def if_chosen(
        cls, environment: Mapping[str, str], *, engine: str | None = None, program: str | None = None
    ) -> TritonSettings | None:
        """Settings when Triton is the engine that was asked for, here or by `NIMIFY_ENGINE`; `None` when it is not.

        Raises:
            ConfigError: There is no such engine, or a variable is wrong.
        """
        chosen = engine or environment.get("NIMIFY_ENGINE", "").strip()
        if chosen not in {"", *ENGINES}:
            raise ConfigError(f"must be one of {', '.join(ENGINES)}, not '{chosen}'.", field="NIMIFY_ENGINE")
        return cls.from_environment(environment, program=program) if chosen == "triton" else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, program: str | None = None) -> TritonSettings:
        """Settings from the variables that NIMs have for it.

        Raises:
            ConfigError: Names the variable that is wrong.
        """
        return cls(
            program=program or environment.get("NIMIFY_TRITON_SERVER", "").strip() or DEFAULT_PROGRAM,
            http_port=_whole_number(environment, "NIM_HTTP_TRITON_PORT"),
            metrics_port=_whole_number(environment, "NIM_TRITON_METRICS_PORT"),
            log_verbose=_whole_number(environment, "NIM_TRITON_LOG_VERBOSE") or 0,
        )


@dataclass(frozen=True, slots=True)
class Ports:
    """Where one Triton listens; `grpc` is `None` when its gRPC is off."""

    http: int
    metrics: int
    grpc: int | None


def choose_ports(settings: TritonSettings, *, host: str, service_port: int, grpc_port: int | None) -> Ports:
    """The ports that Triton is to take, seen to be free.

    Args:
        settings: What was asked for.
        host: Address of gRPC and metrics.
        service_port: The service's own port as it was asked for; 0 when it took any free one.
        grpc_port: Port of Triton's gRPC, 0 for any free one; `None` when it is off.

    Raises:
        EnvironmentProblem: One of them is in use; says whose it was to be, and how to choose another.
    """
    http, metrics = settings.http_port, settings.metrics_port
    if http is None:
        http = DEFAULT_HTTP_PORT if service_port else 0
    if metrics is None:
        metrics = METRICS_PORT if service_port else 0
    with ExitStack() as held:  # all at once, so that no two of them are given the same free one
        return Ports(
            http=_free(held, LOOPBACK, http, "HTTP", "NIM_HTTP_TRITON_PORT"),
            metrics=_free(held, host, metrics, "metrics", "NIM_TRITON_METRICS_PORT"),
            grpc=None if grpc_port is None else _free(held, host, grpc_port, "gRPC", "--grpc-port"),
        )


def _free(held: ExitStack, host: str, port: int, purpose: str, choice: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    probe = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((host, port))
    except OSError as error:
        raise EnvironmentProblem(
            f"Triton's {purpose} port {port} of {host} cannot be used ({error.strerror}).",
            remedy=f"Choose another one with {choice}.",
        ) from error
    return int(probe.getsockname()[1])


def _whole_number(environment: Mapping[str, str], variable: str) -> int | None:
    text = environment.get(variable, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ConfigError(f"must be a whole number, not '{text}'.", field=variable)
    return int(text)
