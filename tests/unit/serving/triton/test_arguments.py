"""The arguments of Triton: hardened, and only such as its release knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from nimify.serving.settings import TlsFiles
from nimify.serving.triton.arguments import triton_arguments
from nimify.serving.triton.settings import Ports

HARDENING: Final = {
    "--disable-auto-complete-config",
    "--strict-readiness=true",
    "--model-control-mode=none",
    "--exit-on-error=true",
    "--allow-sagemaker=false",
    "--allow-vertex-ai=false",
    "--http-address=127.0.0.1",
}


def arguments(**changes: Any) -> list[str]:
    given: dict[str, Any] = {
        "host": "0.0.0.0",  # noqa: S104 - what a container says
        "tls": None,
        "threads": 0,
        "max_body_bytes": 1 << 20,
        "response_cache_bytes": 0,
        "log_verbose": 0,
        "options": frozenset(),
        **changes,
    }
    ports = given.pop("ports", Ports(8080, 8002, 8001))
    return triton_arguments(Path("repository"), ports, **given)


def test_the_hardening_flags_are_always_there() -> None:
    """Whatever else is asked for; and its HTTP is for this machine alone."""
    assert set(arguments()) >= HARDENING
    assert set(arguments(ports=Ports(1, 2, None), host="::")) >= HARDENING


def test_what_changes_the_server_is_closed_on_both_protocols() -> None:
    """Shared memory, tracing and logging ask for a header that nobody knows, and another one each time."""
    closed = [text for _ in range(2) for text in arguments() if "restricted" in text]
    assert [text.partition(":")[0].partition("=")[2] for text in closed] == ["shared-memory,trace,logging"] * 4
    assert len({text.rpartition("=")[2] for text in closed}) == 4


def test_grpc_and_metrics_listen_where_the_service_does() -> None:
    """Traffic may reach Triton's own gRPC, past our front."""
    assert {"--grpc-address=0.0.0.0", "--grpc-port=8001", "--metrics-port=8002"} <= set(arguments())
    off = arguments(ports=Ports(8080, 8002, None))
    assert "--allow-grpc=false" in off
    assert not any(text.startswith("--grpc") for text in off)


def test_grpc_speaks_tls_when_the_service_does(tmp_path: Path) -> None:
    """With the same certificate, and the same authorities of clients."""
    certificate, key, authorities = tmp_path / "c.pem", tmp_path / "k.pem", tmp_path / "a.pem"
    plain = arguments(tls=TlsFiles(certificate, key))
    assert {"--grpc-use-ssl=true", f"--grpc-server-cert={certificate}", f"--grpc-server-key={key}"} <= set(plain)
    assert not any("root-cert" in text for text in plain)
    mutual = arguments(tls=TlsFiles(certificate, key, authorities))
    assert {"--grpc-use-ssl-mutual=true", f"--grpc-root-cert={authorities}"} <= set(mutual)


@pytest.mark.parametrize("option", ["--allow-client-shm", "--http-max-input-size"])
def test_options_of_late_releases_are_left_out_where_they_are_unknown(option: str) -> None:
    """An older Triton would not start with them."""
    assert not any(text.startswith(option) for text in arguments())
    assert any(text.startswith(option) for text in arguments(options=frozenset({option})))


def test_threads_are_counted_for_a_configuration_that_names_none() -> None:
    """ONNX Runtime itself would count the cores of the machine."""
    assert "--backend-config=onnxruntime,intra_op_thread_count=3" in arguments(threads=3)
    assert not any("backend-config" in text for text in arguments(threads=0))


def test_answers_are_remembered_when_that_is_asked_for() -> None:
    """Triton has a cache of its own, which takes as much as the bundle or the service says."""
    assert "--cache-config=local,size=67108864" in arguments(response_cache_bytes=64 << 20)
    assert not any(text.startswith("--cache-config") for text in arguments())
