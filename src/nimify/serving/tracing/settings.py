"""Whether and where to traces go, read from NIM's variables and OpenTelemetry's; loads nothing of OpenTelemetry.

What is not here the official SDK and exporter read for themselves: the sampler, headers, certificates, time limits, the
length of the queue and so on, see docs/guide/tracing.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from nimify.errors import ConfigError, EnvironmentProblem

PROTOCOLS: Final = ("http/protobuf", "grpc")
"""How OTLP is spoken, in the words of `OTEL_EXPORTER_OTLP_PROTOCOL`."""
EXPORTERS: Final = ("otlp", "console", "none")
"""Where spans go, in the words of `OTEL_TRACES_EXPORTER`."""

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"", "0", "false", "no", "off"})
_EXTRA: Final = "'nimify-anything[otel]'"
_EXPORTERS: Final = {
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc",
}
"""Modules by protocol."""
_PACKAGES: Final = {"http/protobuf": _EXTRA, "grpc": "opentelemetry-exporter-otlp-proto-grpc"}
"""What they come with."""


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """How to trace.

    Attributes:
        exporter: One of `EXPORTERS` but `none`.
        protocol: One of `PROTOCOLS`.
        endpoint: Where NIM's own variable says that spans go; empty to leave it to OpenTelemetry's.
        service_name: Empty for the name of the service.
    """

    exporter: str = "otlp"
    protocol: str = "http/protobuf"
    endpoint: str = ""
    service_name: str = ""

    @classmethod
    def if_enabled(cls, environment: Mapping[str, str]) -> TracingSettings | None:
        """Settings when `NIM_ENABLE_OTEL` asks for traces; `None` when nobody does, or they would go nowhere.

        Raises:
            ConfigError: Names the variable that is wrong.
        """
        if not _flag(environment, "NIM_ENABLE_OTEL") or _flag(environment, "OTEL_SDK_DISABLED"):
            return None
        exporter = _choice(environment, ("OTEL_TRACES_EXPORTER", "NIM_OTEL_TRACES_EXPORTER"), EXPORTERS)
        if exporter == "none":
            return None
        return cls(
            exporter=exporter,
            protocol=_choice(
                environment, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"), PROTOCOLS
            ),
            endpoint=_endpoint(environment),
            service_name=_first(environment, ("OTEL_SERVICE_NAME", "NIM_OTEL_SERVICE_NAME"))[1],
        )

    def check_installed(self) -> None:
        """See to it that what sends traces is installed.

        Raises:
            EnvironmentProblem: It is not; says how to install it.
        """
        exporter = {_EXPORTERS[self.protocol]: _PACKAGES[self.protocol]} if self.exporter == "otlp" else {}
        for module, package in {"opentelemetry.sdk": _EXTRA, **exporter}.items():
            if not _is_installed(module):
                raise EnvironmentProblem(
                    f"NIM_ENABLE_OTEL asks for traces, and '{module}' is not installed.",
                    remedy=f"Install it with: pip install {package}",
                )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of what it lies in
        return False


def _endpoint(environment: Mapping[str, str]) -> str:
    """NIM's endpoint, where OpenTelemetry's own variables name none."""
    own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    variable, endpoint = _first(environment, (*own, "NIM_OTEL_EXPORTER_OTLP_ENDPOINT"))
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise ConfigError(f"must be a URL, such as http://collector:4318, not '{endpoint}'.", field=variable)
    return "" if variable in own else endpoint


def _choice(environment: Mapping[str, str], variables: tuple[str, ...], choices: tuple[str, ...]) -> str:
    variable, given = _first(environment, variables)
    if given and given not in choices:
        raise ConfigError(f"must be one of {', '.join(choices)}, not '{given}'.", field=variable)
    return given or choices[0]


def _first(environment: Mapping[str, str], variables: tuple[str, ...]) -> tuple[str, str]:
    """The first variable that is not empty, and its value."""
    for variable in variables:
        if value := environment.get(variable, "").strip():
            return variable, value
    return "", ""


def _flag(environment: Mapping[str, str], variable: str) -> bool:
    word = environment.get(variable, "").strip().lower()
    if word not in _TRUE | _FALSE:
        raise ConfigError(f"must be 1 or 0, not '{word}'.", field=variable)
    return word in _TRUE
