"""The real tritonserver under a real service, and clients of each."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.triton.stand_in import TritonStandIn


@dataclass(frozen=True)
class TritonService:
    """A service that runs a Triton.

    Attributes:
        front: The service.
        bundle: What it serves.
        name: The model's name.
    """

    front: RunningService
    bundle: Path
    name: str

    @property
    def _fields(self) -> dict[str, str]:
        """What the service last told of its Triton."""
        lines = [line for line in self.front.log.read_text().splitlines() if " model loaded " in line]
        return dict(word.split("=", 1) for word in lines[-1].split() if "=" in word)

    @property
    def pid(self) -> int:
        """Triton's process."""
        return int(self._fields["triton_pid"])

    @property
    def grpc_port(self) -> int:
        """Triton's own gRPC."""
        return int(self._fields["grpc_port"])

    @property
    def metrics_port(self) -> int:
        """Triton's own metrics."""
        return int(self._fields["metrics_port"])

    @property
    def http_port(self) -> int:
        """Triton's own HTTP, as its command line says."""
        arguments = Path(f"/proc/{self.pid}/cmdline").read_text().split("\0")
        (port,) = [text.partition("=")[2] for text in arguments if text.startswith("--http-port=")]
        return int(port)


StartTriton = Callable[..., TritonService]


@pytest.fixture
def start_triton(
    start_service: Callable[..., RunningService], triton: TritonStandIn, pytestconfig: pytest.Config
) -> Iterator[StartTriton]:
    """Serve a bundle with the real tritonserver; ended with the test."""
    started: list[RunningService] = []
    already = pytestconfig.getoption("--serve-with") == "triton"

    def start(bundle: Path, *options: str, **kwargs: Any) -> TritonService:
        if already:
            service = start_service(bundle, *options, **kwargs)
        else:
            environment = {**triton.environment, **kwargs.pop("env", {})}
            service = start_service(triton.bundle(bundle), *triton.options, *options, env=environment, **kwargs)
        started.append(service)
        (folder,) = bundle.glob("model_repository/*")
        return TritonService(service, bundle, folder.name)

    yield start
    for service in started:
        service.stop(signal.SIGINT)
