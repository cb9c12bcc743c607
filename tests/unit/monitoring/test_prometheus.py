"""What is no Prometheus, or a broken one, is told as that; a real one is in tests/monitoring."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs

import pytest
from tests.unit.monitoring.local_server import LocalServer

from nimify import cli
from nimify.errors import EnvironmentProblem
from nimify.monitoring.prometheus import PrometheusMonitor, PrometheusPlace


class Door(LocalServer):
    """An address that answers queries as the test says.

    Attributes:
        answers: By the beginning of the query; the status and the body.
        asked: The headers of the last request.
    """

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: dict[str, str] = {}
        super().__init__()

    def reply(self, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        body = request.rfile.read(int(request.headers["Content-Length"])).decode()
        (query,) = parse_qs(body)["query"]
        self.asked = {name.lower(): value for name, value in request.headers.items()}
        return next(answer for start, answer in self.answers.items() if query.startswith(start))

    def says(self, beginning: str, result: Any) -> None:
        self.answers[beginning] = (200, json.dumps({"status": "success", "data": {"result": result}}).encode())


@pytest.fixture
def door() -> Iterator[Door]:
    opened = Door()
    yield opened
    opened.close()


def series(name: str, values: list[tuple[float, str]], **labels: str) -> dict[str, Any]:
    return {"metric": {"__name__": name, "instance": "a:1", "job": "m", **labels}, "values": values}


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, b"<html>a page</html>", "is no Prometheus"),
        (404, b"not found", "is no Prometheus: it answered 404"),
        (401, b"", "does not let nimify in"),
        (403, b"", "does not let nimify in"),
        (422, b'{"status": "error", "error": "too many samples"}', "too many samples"),
        (200, b'{"status": "success", "data": {"result": [1]}}', "otherwise than a Prometheus"),
        (200, b'{"status": "success"}', "otherwise than a Prometheus"),
        (200, b"[" * 100_000, "is no Prometheus"),
    ],
)
def test_what_cannot_be_read_is_told_as_that(status: int, body: bytes, told: str, door: Door) -> None:
    """Each answer that is none ends with a sentence that says what it is."""
    door.answers[""] = (status, body)
    with pytest.raises(EnvironmentProblem, match=told):
        PrometheusMonitor(PrometheusPlace(door.url, "m"), window_s=1).look()


def test_one_that_is_not_there_ends_the_command_with_5(capsys: pytest.CaptureFixture[str]) -> None:
    """And says where it looked."""
    assert cli.main(["monitor", "m", "--prometheus", "http://127.0.0.1:1", "--once"]) == 5
    assert "The Prometheus at http://127.0.0.1:1 cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("m", "--prometheus", "ftp://x"),
        ("http://127.0.0.1:1", "--prometheus", "http://127.0.0.1:1"),
        ("a", "b", "--prometheus", "http://127.0.0.1:1"),
        ("m", "--target", "docker", "--prometheus", "http://127.0.0.1:1"),
        ("m", "--prometheus-auth", "x"),
        ("m", "--prometheus", "http://127.0.0.1:1", "--prometheus-auth", "/nowhere"),
        ("m", "--prometheus", "https://127.0.0.1:1", "--cacert", "/nowhere"),
    ],
)
def test_a_wrong_command_line_is_refused(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is asked, with 2."""
    assert cli.main(["monitor", *arguments, "--once"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_restart_within_the_window_is_no_negative_rate(door: Door) -> None:
    """Only scrapes of the process that runs now are compared; with a single one of it, rates are unknown."""
    door.says("up", [{"metric": {"instance": "a:1", "pod": "p-1"}, "value": [30.0, "1"]}])
    old_and_new = [(10.0, "1"), (20.0, "1"), (30.0, "2")]
    counted = [(10.0, "100"), (20.0, "200"), (30.0, "3")]
    started = series("process_start_time_seconds", old_and_new)
    door.says("{", [started, series("nv_inference_request_success", counted)])
    monitor = PrometheusMonitor(PrometheusPlace(door.url, "m"), window_s=5)

    restarted = monitor.look()
    started["values"] = [(10.0, "1"), (20.0, "2"), (30.0, "2")]
    door.says("{", [started, series("nv_inference_request_success", [(10.0, "100"), (20.0, "1"), (30.0, "3")])])
    later = monitor.look()

    assert restarted.figures.requests_per_s is None
    assert any("second reading" in sentence for sentence in restarted.missing)
    assert later.figures.requests_per_s == pytest.approx(0.2)
    assert later.window_s == pytest.approx(10.0)
    assert later.replicas[0].name == "p-1"


def test_a_secret_comes_from_a_file_or_a_variable(door: Door, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A single word is a token; more is the header itself; a namespace cannot break out of its quotes."""
    door.says("", [])
    monkeypatch.setenv("NIMIFY_PROMETHEUS_AUTHORIZATION", "token-1")
    command = ["monitor", "m", "--prometheus", door.url, "--once", "--interval", "100ms", "--namespace", 'a"} or up{"']
    assert cli.main(command) == 1
    assert door.asked["authorization"] == "Bearer token-1"
    file = tmp_path / "auth"
    file.write_text("Basic eDp5\n")
    assert cli.main([*command, "--prometheus-auth", str(file)]) == 1
    assert door.asked["authorization"] == "Basic eDp5"
