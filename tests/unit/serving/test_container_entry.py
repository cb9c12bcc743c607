"""`python -m nimify.serving`: how containers start the service, and how they ask it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.ports import free_port

DEADLINE_S = 60.0


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


@pytest.fixture(scope="module")
def port(make_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A service started as SageMaker starts it; ends with the module, and with 0."""
    port = free_port()
    environment = {
        **os.environ,
        "NIMIFY_BUNDLE": str(make_bundle("tiny", limits={"drain_s": 0})),
        "NIMIFY_HOST": "127.0.0.1",
        "NIM_HTTP_API_PORT": str(port),
        "NIMIFY_GRPC": "0",
        "NIM_JSONL_LOGGING": "1",
    }
    log = tmp_path_factory.mktemp("entry") / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen([sys.executable, "-m", "nimify.serving", "serve"], env=environment, stderr=stream)
    try:
        deadline_s = time.monotonic() + DEADLINE_S
        while not is_ready(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, log.read_text()
        yield port
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()


def is_ready(port: int) -> bool:
    return run("nimify.serving.probe", NIM_HTTP_API_PORT=str(port)).returncode == 0


def test_the_probe_says_whether_the_service_is_ready(port: int) -> None:
    """0 where it is, 1 where nothing listens."""
    assert is_ready(port)
    assert not is_ready(free_port())


def test_the_relay_joins_its_streams_to_the_service(port: int) -> None:
    """A whole request goes in, and the whole answer comes out."""
    done = subprocess.run(
        [sys.executable, "-m", "nimify.serving.probe", "relay"],
        input=b"GET /v1/health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        env={**os.environ, "NIM_HTTP_API_PORT": str(port)},
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(body)["ready"] is True


def test_peaks_of_memory_are_counted(port: int) -> None:
    """Those of the running service are among them, so it is some megabytes."""
    assert int(run("nimify.serving.probe", "memory").stdout) > 10 << 20


def test_other_arguments_are_refused_in_a_line() -> None:
    """The container is set up by variables, and says so."""
    done = run("nimify.serving", "--port", "80")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: arguments: the container takes no arguments but 'serve'.")


def test_a_missing_bundle_is_an_error_of_the_bundle(tmp_path: Path) -> None:
    """The status is that of the guide, and there is no traceback."""
    done = run("nimify.serving", NIMIFY_BUNDLE=str(tmp_path))
    assert done.returncode == 4
    assert "Traceback" not in done.stderr


def test_nothing_of_the_command_line_is_loaded() -> None:
    """Neither Click nor any other library of the build side."""
    script = (
        "import sys, runpy; sys.argv = ['x', '--nonsense']\n"
        "try: runpy.run_module('nimify.serving', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "import nimify.serving.service\n"
        "print([name for name in ('click', 'pydantic', 'onnx', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
