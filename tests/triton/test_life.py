"""Triton under our supervision: it dies and comes back, it is stopped in order, and it does not outlive us."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tritonclient.grpc as grpc_client
from tests.triton.clients import Load, eventually

if TYPE_CHECKING:
    from tests.triton.conftest import StartTriton, TritonService

MakeBundle = Callable[..., Path]

pytestmark = pytest.mark.triton


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def _ready(service: TritonService) -> bool:
    return _get(f"{service.front.url}/v1/health/ready")[0] == 200


def _metric(service: TritonService, name: str, **labels: str) -> float:
    found = 0.0
    for line in _get(f"{service.front.url}/v1/metrics")[1].splitlines():
        if line.startswith(f"{name}{{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
            found += float(line.rsplit(" ", 1)[1])
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_triton_comes_back_and_what_it_lost_is_counted(
    start_triton: StartTriton, make_bundle: MakeBundle
) -> None:
    """Clients get a 503 that says when to come back, and nothing else; the service is not ready meanwhile."""
    service = start_triton(make_bundle("tiny"))
    first = service.pid
    load = Load(service.front.port)
    try:
        eventually(lambda: load.answered > 200, what="load")
        os.kill(first, signal.SIGKILL)
        eventually(lambda: not _ready(service), what="readiness' fall")
        assert _get(f"{service.front.url}/v1/health/live")[0] == 200
        eventually(lambda: _ready(service), what="readiness' return")
        answered = load.answered
        eventually(lambda: load.answered > answered + 200, what="answers of the new Triton")
    finally:
        load.stop()
    assert set(load.failures) == {"503"}
    assert service.pid != first
    failed = sum(_metric(service, "nv_inference_request_failure", reason=reason) for reason in ("REJECTED", "BACKEND"))
    assert failed == load.failures["503"]
    assert _metric(service, "nv_inference_request_success") == load.answered


def test_no_request_is_lost_when_the_service_is_told_to_stop(
    start_triton: StartTriton, make_bundle: MakeBundle
) -> None:
    """Not ready first, then drained, then Triton is stopped, and all of it has ended."""
    service = start_triton(make_bundle("tiny"), "--drain", "10s")
    triton = service.pid
    load = Load(service.front.port)
    try:
        eventually(lambda: load.answered > 200, what="load")
        service.front.process.send_signal(signal.SIGTERM)
        eventually(lambda: not _ready(service), what="readiness' fall", timeout_s=8)
        assert _alive(triton)
    finally:
        load.stop()
    assert service.front.process.wait(30) == 0
    assert load.failures == {}
    assert not _alive(triton)


def test_triton_does_not_outlive_a_service_that_was_killed(start_triton: StartTriton, make_bundle: MakeBundle) -> None:
    """The kernel ends it: nothing is left that holds its ports."""
    service = start_triton(make_bundle("tiny"))
    triton = service.pid
    service.front.process.kill()
    service.front.process.wait()
    eventually(lambda: not _alive(triton), what="Triton's end")


def test_a_hung_triton_costs_requests_their_deadline_and_no_more(
    start_triton: StartTriton, make_bundle: MakeBundle
) -> None:
    """504 in time, while health still answers; when it goes on, so does the service."""
    service = start_triton(make_bundle("tiny"), "--request-timeout", "0.5")
    body = json.dumps({"inputs": {"x": [[1, 2, 3, 4]]}}).encode()
    request = urllib.request.Request(f"{service.front.url}/v1/infer", body)
    os.kill(service.pid, signal.SIGSTOP)
    try:
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request, timeout=20)
        raised.value.close()
        assert raised.value.code == 504
        assert _get(f"{service.front.url}/v1/health/live")[0] == 200
    finally:
        os.kill(service.pid, signal.SIGCONT)
    eventually(lambda: _answer(request) == {"y": [[2, 3, 4, 5]]}, what="an answer in time")


def _answer(request: urllib.request.Request) -> object:
    """The outputs, or the status of a refusal."""
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.slow
def test_a_triton_that_hangs_for_good_is_replaced(start_triton: StartTriton, make_bundle: MakeBundle) -> None:
    """It is asked whether it lives; one that says nothing any more is ended like one that died."""
    service = start_triton(make_bundle("tiny"))
    hung = service.pid
    os.kill(hung, signal.SIGSTOP)
    eventually(lambda: service.pid != hung and _ready(service), what="another Triton", timeout_s=120)
    assert not _alive(hung)
    assert "does not answer any more" in service.front.log.read_text()


def test_with_api_keys_nobody_gets_past_them_to_triton(
    start_triton: StartTriton, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    """Triton knows no keys: its gRPC is off, and its metrics are for this machine."""
    keys = tmp_path / "keys"
    keys.write_text("prometheus:0123456789abcdef0123456789abcdef\n")
    keys.chmod(0o600)
    service = start_triton(make_bundle("tiny"), "--host", "0.0.0.0", "--api-keys", str(keys))  # noqa: S104
    arguments = Path(f"/proc/{service.pid}/cmdline").read_text().split("\0")
    assert "--allow-grpc=false" in arguments
    assert "--metrics-address=127.0.0.1" in arguments


def test_grpc_is_tritons_own(start_triton: StartTriton, make_bundle: MakeBundle) -> None:
    """With its server's name, on the port that was asked for, so that heavy traffic need not pass the front."""
    service = start_triton(make_bundle("tiny"))
    client = grpc_client.InferenceServerClient(f"127.0.0.1:{service.grpc_port}")
    metadata: Any = client.get_server_metadata()
    client.close()
    assert metadata.name == "triton"
    assert re.fullmatch(r"\d+\.\d+\.\d+", metadata.version)
