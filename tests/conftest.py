"""What every test may use: bundles made through the public door, and real servers on real sockets."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from tests.triton.stand_in import NOT_WITH_TRITON, TritonStandIn

# Tests compare with direct ONNX Runtime, which would otherwise start its telemetry client (see the engine).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# How long an example may take says something of the machine, not of the code.
hypothesis.settings.register_profile("any-machine", deadline=None)
# What lands must not hang on the examples of one day; whoever works on the code sees new ones with each run.
hypothesis.settings.register_profile("same-examples", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("same-examples" if os.environ.get("CI") else "any-machine")

# What `nohup` and a shell's `&` have us ignore, the programs that we start would ignore, too.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)


@dataclass
class RunningService:
    """A `nimify serve` process that is ready.

    Attributes:
        url: `http://127.0.0.1:<port>`.
        process: The process; the fixture ends it.
        log: Where its standard error goes.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self.url.rsplit(":", 1)[1])

    @property
    def grpc_address(self) -> str:
        """Host and port of gRPC."""
        found = re.search(r"\bgrpc\W+?([\d.]+:\d+)", self.log.read_text())
        assert found, "gRPC is not served"
        return found[1]

    def stop(self, number: signal.Signals = signal.SIGTERM, *, timeout_s: float = 60.0) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)


ServiceStarter = Callable[..., RunningService]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests of the service run against Triton: the contract is the same (make test-triton)."""
    parser.addoption("--serve-with", choices=["plan", "triton"], default="plan", help="the engine of started services")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With Triton, leave out what is about the embedded engine's own queue, or cannot be seen through the stand-in."""
    if config.getoption("--serve-with") != "triton":
        return
    left_out = [item for item in items if any(name in item.nodeid for name in NOT_WITH_TRITON)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> TritonStandIn:
    """The real tritonserver, and bundles that it can load."""
    return TritonStandIn(tmp_path_factory)


@dataclass
class Started:
    """Processes of services: those of the module whose tests run, and those that modules share."""

    own: list[subprocess.Popen[bytes]] = field(default_factory=list)
    shared: list[subprocess.Popen[bytes]] = field(default_factory=list)


@pytest.fixture(scope="session")
def started_services() -> Iterator[Started]:
    """What is running; nothing is after the session."""
    started = Started()
    yield started
    _end(started.own + started.shared)


@pytest.fixture(scope="module", autouse=True)
def end_services_of_the_module(started_services: Started) -> Iterator[None]:
    """End what a module's tests have left running: it would take time and memory from the tests that follow."""
    yield
    _end(started_services.own)
    started_services.own.clear()


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture(scope="session")
def start_service(
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
    triton: TritonStandIn,
    started_services: Started,
) -> ServiceStarter:
    """Start `nimify serve BUNDLE [options]` on a free port; it ends with the module, or with the session if shared."""
    with_triton = pytestconfig.getoption("--serve-with") == "triton"

    def start(
        bundle: Path,
        *options: str,
        wait_ready: bool = True,
        shared: bool = False,
        env: dict[str, str] | None = None,
    ) -> RunningService:
        log = tmp_path_factory.mktemp("service") / "log.txt"
        if with_triton:
            bundle, options = triton.bundle(bundle), (*triton.options, *options)
            env = {**triton.environment, **(env or {})}
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "nimify", "serve", str(bundle), "--port", "0", "--drain", "0", *options],
                stdout=subprocess.DEVNULL,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
            )
        (started_services.shared if shared else started_services.own).append(process)
        service = RunningService(_wait_for_url(process, log), process, log)
        if wait_ready:
            wait_until_ready(service)
        return service

    return start


def _wait_for_url(process: subprocess.Popen[bytes], log: Path, *, timeout_s: float = 60.0) -> str:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        for line in log.read_text().splitlines():
            # In words, or as JSON: url=http://… or "url":"http://…".
            if "listening" in line and (url := re.search(r"https?://[^\s\"]+", line)):
                return url[0]
        if process.poll() is not None:
            raise RuntimeError(f"the service ended with {process.returncode}:\n{log.read_text()}")
        time.sleep(0.02)
    raise RuntimeError(f"the service did not start:\n{log.read_text()}")


def wait_until_ready(service: RunningService, *, timeout_s: float = 60.0) -> None:
    """Wait for `/v1/health/ready` to answer 200."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        try:
            with urllib.request.urlopen(f"{service.url}/v1/health/ready", timeout=5):
                return
        except OSError:  # refused, cut, or late on a busy machine
            if service.process.poll() is not None:
                break
            time.sleep(0.02)
    raise RuntimeError(f"the service is not ready:\n{service.log.read_text()}")


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a bundle of a named tiny model (see `nimify.testing.models`), once per kind and configuration."""
    from nimify import ModelConfig, Nimifier
    from nimify.testing import models

    made: dict[str, Path] = {}

    def make(kind: str, **config: Any) -> Path:
        key = f"{kind} {sorted(config.items())!r}"
        if key not in made:
            folder = tmp_path_factory.mktemp(kind)
            model = folder / f"{kind}.onnx"
            models.save(models.ALL[kind](), model)
            settings = ModelConfig.build({"name": kind.replace("_", "-"), **config})
            made[key] = Nimifier(settings).create(model, folder / "bundle").folder
        return made[key]

    return make
