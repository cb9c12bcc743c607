"""What switches traces on, and where they go."""

from __future__ import annotations

import importlib.util

import pytest

from nimify.errors import ConfigError, EnvironmentProblem
from nimify.serving.tracing.settings import TracingSettings

ON = {"NIM_ENABLE_OTEL": "1"}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"NIM_ENABLE_OTEL": "0"},
        {"NIM_ENABLE_OTEL": " "},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
        {**ON, "OTEL_SDK_DISABLED": "true"},
        {**ON, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_traces_are_off_unless_they_are_asked_for_and_go_somewhere(variables: dict[str, str]) -> None:
    """OpenTelemetry's variables alone, which a platform may set for all, switch nothing on."""
    assert TracingSettings.if_enabled(variables) is None


@pytest.mark.parametrize(
    ("variables", "settings"),
    [
        ({}, TracingSettings()),
        ({"OTEL_TRACES_EXPORTER": "console"}, TracingSettings(exporter="console")),
        ({"NIM_OTEL_TRACES_EXPORTER": "console"}, TracingSettings(exporter="console")),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, TracingSettings(protocol="grpc")),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            TracingSettings(),
        ),
        ({"NIM_OTEL_SERVICE_NAME": "front"}, TracingSettings(service_name="front")),
        ({"NIM_OTEL_SERVICE_NAME": "front", "OTEL_SERVICE_NAME": "own"}, TracingSettings(service_name="own")),
        ({"NIM_OTEL_EXPORTER_OTLP_ENDPOINT": "http://nim:4318"}, TracingSettings(endpoint="http://nim:4318")),
        (
            {"NIM_OTEL_EXPORTER_OTLP_ENDPOINT": "http://nim:4318", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://own:4318"},
            TracingSettings(),
        ),
    ],
)
def test_standard_names_win_over_nims(variables: dict[str, str], settings: TracingSettings) -> None:
    """What OpenTelemetry's own variables say is left to its exporter."""
    assert TracingSettings.if_enabled({**ON, **variables}) == settings


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NIM_ENABLE_OTEL", "maybe"),
        ("OTEL_SDK_DISABLED", "perhaps"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("NIM_OTEL_TRACES_EXPORTER", "otlp,console"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("NIM_OTEL_EXPORTER_OTLP_ENDPOINT", "collector"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str) -> None:
    """The message says which one, and what it holds."""
    with pytest.raises(ConfigError) as caught:
        TracingSettings.if_enabled({**ON, variable: value})
    assert caught.value.field == variable
    assert value in str(caught.value)


def test_what_is_installed_is_enough_for_http() -> None:
    """The tests are run with the extra."""
    TracingSettings().check_installed()
    TracingSettings(exporter="console", protocol="grpc").check_installed()


@pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry.exporter.otlp.proto.grpc") is not None, reason="it is installed"
)
def test_grpc_needs_an_exporter_of_its_own() -> None:
    """The extra brings the one for HTTP only, and the message says what to add."""
    with pytest.raises(EnvironmentProblem) as caught:
        TracingSettings(protocol="grpc").check_installed()
    assert caught.value.remedy == "Install it with: pip install opentelemetry-exporter-otlp-proto-grpc"
