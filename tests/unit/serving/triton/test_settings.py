"""How Triton is run: NIM's variables, and ports that are seen to be free."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from nimify.errors import ConfigError, EnvironmentProblem
from nimify.serving.settings import ServiceSettings
from nimify.serving.triton.settings import TritonSettings, choose_ports


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_nims_variables_are_honoured() -> None:
    """Those that NIMs have for the Triton inside them, and one for the program."""
    environment = {
        "NIM_HTTP_TRITON_PORT": "9080",
        "NIM_TRITON_METRICS_PORT": "9002",
        "NIM_TRITON_LOG_VERBOSE": "2",
        "NIMIFY_TRITON_SERVER": "/srv/tritonserver",
    }
    assert TritonSettings.from_environment(environment) == TritonSettings("/srv/tritonserver", 9080, 9002, 2)
    assert TritonSettings.from_environment(environment, program="mine").program == "mine"
    assert TritonSettings.from_environment({}) == TritonSettings("tritonserver", None, None, 0)


def test_triton_is_chosen_by_name() -> None:
    """By option or variable, the option first; a name that nobody knows is not taken for the default."""
    assert TritonSettings.if_chosen({}) is None
    assert TritonSettings.if_chosen({"NIMIFY_ENGINE": "triton"}) == TritonSettings()
    assert TritonSettings.if_chosen({"NIMIFY_ENGINE": "triton"}, engine="onnxruntime") is None
    assert TritonSettings.if_chosen({}, engine="triton", program="mine") == TritonSettings("mine")
    with pytest.raises(ConfigError, match=r"NIMIFY_ENGINE.*tritn"):
        TritonSettings.if_chosen({"NIMIFY_ENGINE": "tritn"})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NIM_HTTP_TRITON_PORT", "http"),
        ("NIM_HTTP_TRITON_PORT", "70000"),
        ("NIM_TRITON_METRICS_PORT", "-1"),
        ("NIM_TRITON_LOG_VERBOSE", "9"),
    ],
)
def test_a_wrong_variable_is_an_error(variable: str, value: str) -> None:
    """It says what is wrong."""
    with pytest.raises(ConfigError):
        TritonSettings.from_environment({variable: value})


def test_ports_default_to_nims_unless_any_will_do() -> None:
    """8080 and 8002 belong to a service with a port of its own; where any free one will do, each gets another."""
    settings = TritonSettings(http_port=0, metrics_port=0)
    ports = choose_ports(settings, host="127.0.0.1", service_port=0, grpc_port=0)
    assert ports.grpc is not None
    assert len({ports.http, ports.metrics, ports.grpc}) == 3
    assert choose_ports(settings, host="127.0.0.1", service_port=0, grpc_port=None).grpc is None


def test_a_port_in_use_is_named_with_the_way_to_choose_another(taken: int) -> None:
    """Before Triton is started, which would say so less clearly."""
    with pytest.raises(EnvironmentProblem, match=f"HTTP port {taken}.*NIM_HTTP_TRITON_PORT"):
        choose_ports(TritonSettings(http_port=taken), host="127.0.0.1", service_port=0, grpc_port=None)
    with pytest.raises(EnvironmentProblem, match=f"gRPC port {taken}.*--grpc-port"):
        choose_ports(TritonSettings(), host="127.0.0.1", service_port=0, grpc_port=taken)


def test_triton_and_several_workers_exclude_each_other() -> None:
    """Each worker would start a Triton of its own."""
    with pytest.raises(ConfigError, match=r"workers.*Triton"):
        ServiceSettings(workers=2, triton=TritonSettings())
