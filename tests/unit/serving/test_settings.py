"""How to serve: options before the environment, the environment before the defaults, and errors that name them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nimify.errors import ConfigError
from nimify.serving.settings import ServiceSettings, TlsFiles
from nimify.serving.spec import Limits
from nimify.serving.triton.settings import TritonSettings


def settings(environment: dict[str, str] | None = None, **options: Any) -> ServiceSettings:
    return ServiceSettings.from_environment(environment or {}, **options)


def test_nothing_given_means_loopback_and_one_worker() -> None:
    """The defaults listen to this machine only."""
    assert settings() == ServiceSettings(host="127.0.0.1", port=8000, workers=None, log_level="info")


@pytest.mark.parametrize(
    ("environment", "port"),
    [
        ({"PORT": "1"}, 1),
        ({"PORT": "1", "NIM_SERVER_PORT": "2"}, 2),
        ({"PORT": "1", "NIM_SERVER_PORT": "2", "NIM_HTTP_API_PORT": "3"}, 3),
        ({"PORT": "1", "NIM_HTTP_API_PORT": ""}, 1),
        ({"NIM_HTTP_API_PORT": " 65535 "}, 65535),
        ({"NIM_HTTP_API_PORT": "0"}, 0),
    ],
)
def test_the_port_comes_from_the_most_specific_variable(environment: dict[str, str], port: int) -> None:
    """NIM's own name first, then the operator's, then the platform's; an empty one counts as not given."""
    assert settings(environment).port == port


def test_an_option_wins_over_the_environment() -> None:
    """And an option that is `None` was not given."""
    environment = {"PORT": "1", "NIM_HTTP_MAX_WORKERS": "3", "NIM_LOG_LEVEL": "DEBUG", "NIM_JSONL_LOGGING": "1"}
    assert settings(environment, port=5, workers=None, json_logs=False) == ServiceSettings(
        port=5, workers=3, log_level="debug", json_logs=False
    )


def test_an_empty_host_is_refused() -> None:
    """To the system it means every address: a variable without a value must not open the service to the network."""
    with pytest.raises(ConfigError, match="host: must not be empty"):
        settings(host="")


@pytest.mark.parametrize(("text", "level"), [("INFO", "info"), ("default", "info"), ("DEFAULT", "info"), ("", "info")])
def test_log_levels_are_nims(text: str, level: str) -> None:
    """In any case; `default` is `info`."""
    assert settings({"NIM_LOG_LEVEL": text}).log_level == level


@pytest.mark.parametrize(
    ("text", "flag"),
    [("1", True), ("true", True), ("On", True), (" yes ", True), ("0", False), ("FALSE", False), ("", False)],
)
def test_json_logging_is_a_flag(text: str, flag: bool) -> None:
    """The spellings that people use."""
    assert settings({"NIM_JSONL_LOGGING": text}).json_logs is flag


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("NIM_HTTP_API_PORT", "http"),
        ("NIM_HTTP_API_PORT", "-1"),
        ("NIM_HTTP_API_PORT", "8000.0"),
        ("NIM_HTTP_API_PORT", "\uff18\uff10\uff10\uff10"),
        ("NIM_SERVER_PORT", "tcp://10.0.0.1:80"),
        ("NIM_HTTP_MAX_WORKERS", "two"),
        ("NIM_HTTP_MAX_WORKERS", "1" * 5000),
        ("NIM_LOG_LEVEL", "loud"),
        ("NIM_JSONL_LOGGING", "maybe"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, text: str) -> None:
    """The message begins with the variable that somebody must mend."""
    with pytest.raises(ConfigError) as caught:
        settings({variable: text})
    assert caught.value.field == variable


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"port": -1}, "port"),
        ({"port": 65536}, "port"),
        ({"workers": 0}, "workers"),
        ({"workers": 257}, "workers"),
        ({"log_level": "loud"}, "log level"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], field: str) -> None:
    """Whether it came from the command line or from Python."""
    with pytest.raises(ConfigError) as caught:
        ServiceSettings(**options)
    assert caught.value.field == field


def test_given_limits_replace_those_of_the_bundle() -> None:
    """And only those."""
    bundle = Limits(max_body_bytes=5, drain_s=7.0)
    assert settings().limits_over(bundle) == bundle
    assert settings(limits={"drain_s": 0.0}).limits_over(bundle) == Limits(max_body_bytes=5, drain_s=0.0)


@pytest.mark.parametrize(
    ("environment", "options", "port"),
    [
        ({}, {}, 8001),
        ({}, {"port": 0}, 0),
        ({"NIM_TRITON_GRPC_PORT": "9001"}, {}, 9001),
        ({"NIM_GRPC_API_PORT": "50051", "NIM_TRITON_GRPC_PORT": "9001"}, {"port": 0}, 50051),
        ({"NIM_GRPC_API_PORT": "50051"}, {"grpc_port": 7}, 7),
    ],
)
def test_grpc_has_a_port_of_its_own(environment: dict[str, str], options: dict[str, Any], port: int) -> None:
    """Triton's by default; any free one where HTTP's is free."""
    assert settings(environment, **options).effective_grpc_port == port


def test_two_services_on_one_port_are_refused() -> None:
    """Unless gRPC is left out."""
    with pytest.raises(ConfigError, match="--no-grpc"):
        settings(port=8001)
    assert not settings({"NIMIFY_GRPC": "0"}, port=8001).grpc


@pytest.mark.parametrize("mode", ["", "disabled", "DISABLED", " Disabled "])
def test_tls_is_off_unless_it_is_asked_for(mode: str) -> None:
    """Files alone turn nothing on."""
    assert settings({"NIM_SSL_MODE": mode, "NIM_SSL_CERTS_PATH": "/c", "NIM_SSL_KEY_PATH": "/k"}).tls is None


@pytest.mark.parametrize("variable", ["NIM_SSL_CERTS_PATH", "NIM_SSL_CERT_PATH"])
def test_tls_takes_nims_variables(variable: str) -> None:
    """In any case of the mode, under both names of the certificate; the clients' authorities only with MTLS."""
    files = {variable: "/c", "NIM_SSL_KEY_PATH": "/k", "NIM_SSL_CA_CERTS_PATH": "/a"}
    assert settings({"NIM_SSL_MODE": "tls", **files}).tls == TlsFiles(Path("/c"), Path("/k"))
    assert settings({"NIM_SSL_MODE": "mTLS", **files}).tls == TlsFiles(Path("/c"), Path("/k"), Path("/a"))


def test_origins_are_exact() -> None:
    """Several with commas between them; anything but scheme, host and port is refused."""
    given = settings({"NIMIFY_CORS_ORIGINS": "https://a.example, http://localhost:3000,"})
    assert given.cors_origins == ("https://a.example", "http://localhost:3000")
    for origin in ("a.example", "https://a.example/", "https://A.example", "https://*.example", "null", "https://a b"):
        with pytest.raises(ConfigError, match="is no origin"):
            settings(cors_origins=(origin,))


def test_triton_runs_the_instances_of_the_plan_by_itself() -> None:
    """Instances are worker processes of the embedded engine only, and an option overrules them."""
    assert ServiceSettings().workers_for(3) == 3
    assert ServiceSettings(workers=2).workers_for(3) == 2
    assert ServiceSettings(triton=TritonSettings()).workers_for(3) == 1
