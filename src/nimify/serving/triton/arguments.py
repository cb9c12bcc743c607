"""The arguments that Triton is started with: serve this one model, literally, and let nobody change what it does."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from nimify.serving.settings import TlsFiles
from nimify.serving.triton.settings import LOOPBACK, Ports

EXIT_TIMEOUT_S: Final = 5
"""How long Triton may take to finish what was sent to it past our front, after our own drain is over."""
_STATE_CHANGING: Final = "shared-memory,trace,logging"
"""Parts of Triton's API that change the server, or write files, for whoever asks."""
_LARGEST_GROWTH: Final = 4
"""What a body may grow by between us and Triton: `0,` in JSON is eight bytes of a FP64 tensor."""
_SLACK_BYTES: Final = 64 << 10


def triton_arguments(
    repository: Path,
    ports: Ports,
    *,
    host: str,
    tls: TlsFiles | None,
    threads: int,
    max_body_bytes: int,
    response_cache_bytes: int,
    log_verbose: int,
    options: frozenset[str],
) -> list[str]:
    """The arguments for `tritonserver`.

    Args:
        repository: The model repository.
        ports: Where it is to listen.
        host: Address of gRPC and metrics; HTTP is for our front alone, and on loopback.
        tls: What gRPC speaks TLS with.
        threads: Threads of ONNX Runtime for a model whose configuration does not name a number; 0 when it does.
        max_body_bytes: Longest body that our front accepts.
        response_cache_bytes: What answers that it remembers may take; 0 for none.
        log_verbose: Triton's level of detail.
        options: What this release of Triton knows. Of the options that came lately, those that it does not know are
            left out.
    """
    arguments = [
        f"--model-repository={repository}",
        # The configuration is complete: what it does not say is not so.
        "--disable-auto-complete-config",
        "--strict-readiness=true",
        "--model-control-mode=none",
        "--exit-on-error=true",
        f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
        "--allow-sagemaker=false",
        "--allow-vertex-ai=false",
        "--allow-http=true",
        f"--http-address={LOOPBACK}",
        f"--http-port={ports.http}",
        f"--http-restricted-api={_restriction()}",
        "--allow-metrics=true",
        f"--metrics-address={host}",
        f"--metrics-port={ports.metrics}",
        *_grpc(ports.grpc, host, tls),
        f"--log-verbose={log_verbose}",
    ]
    if threads:
        # ONNX Runtime would count the machine's cores, not those of this control group.
        arguments += [
            "--backend-config=onnxruntime,enable-global-threadpool=1",
            f"--backend-config=onnxruntime,intra_op_thread_count={threads}",
        ]
    if response_cache_bytes:
        arguments.append(f"--cache-config=local,size={response_cache_bytes}")
    recent = {
        "--allow-client-shm": "false",
        "--http-max-input-size": str(max_body_bytes * _LARGEST_GROWTH + _SLACK_BYTES),
    }
    return arguments + [f"{option}={value}" for option, value in recent.items() if option in options]


def _grpc(port: int | None, host: str, tls: TlsFiles | None) -> list[str]:
    if port is None:
        return ["--allow-grpc=false"]
    arguments = [
        "--allow-grpc=true",
        f"--grpc-address={host}",
        f"--grpc-port={port}",
        f"--grpc-restricted-protocol={_restriction()}",
    ]
    if tls is None:
        return arguments
    arguments += ["--grpc-use-ssl=true", f"--grpc-server-cert={tls.certificates}", f"--grpc-server-key={tls.key}"]
    if tls.client_authorities is not None:
        arguments += ["--grpc-use-ssl-mutual=true", f"--grpc-root-cert={tls.client_authorities}"]
    return arguments


def _restriction() -> str:
    """Close those parts of the API with a header that nobody knows."""
    return f"{_STATE_CHANGING}:nimify={secrets.token_hex(16)}"
