"""Checks of a live service: a right one passes, and a wrong one gets results, whatever it answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nimify.artifacts.bundle import Bundle
from nimify.conformance.client import Client, NoAnswer
from nimify.conformance.live import CHECKS, validate_service
from nimify.conformance.live_checks.metrics import parse
from nimify.conformance.report import Report, Status
from nimify.errors import ConfigError

BundleOf = Callable[[str], Path]
StartService = Callable[..., Any]
Change = Callable[[str, int, bytes], tuple[int, bytes]]


def statuses(report: Report) -> dict[str, Status]:
    return {result.name: result.status for result in report.results}


@contextmanager
def spoiling(upstream: str, change: Change) -> Iterator[str]:
    """A service that passes requests on, and spoils some of the answers."""
    client = Client(upstream, timeout_s=10)

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            kept = ("content-type", "inference-header-content-length")
            headers = {name: self.headers[name] for name in kept if name in self.headers}
            answer = client.send(self.command, self.path, body or None, headers)
            status, content = change(self.path, answer.status, answer.body)
            self.send_response(status)
            for name in kept:
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815 - the standard library's names

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def tiny_url(start_service: StartService, bundle_of: BundleOf) -> str:
    url: str = start_service(bundle_of("tiny")).url
    return url


@pytest.mark.parametrize("kind", ["several-outputs", "strings", "bf16", "scalar-output"])
def test_our_own_service_passes_every_check(kind: str, bundle_of: BundleOf, start_service: StartService) -> None:
    """What nimify serves is what nimify asks for; JSON is skipped only where it cannot carry the tensors."""
    found = statuses(validate_service(start_service(bundle_of(kind)).url, Bundle.open(bundle_of(kind))))
    if kind == "bf16":
        assert found.pop("golden-json") is Status.SKIPPED
    assert set(found.values()) == {Status.PASSED}


def _other_status(path: str, status: int, body: bytes) -> tuple[int, bytes]:
    return (500, body) if path == "/v1/license" else (status, body)


def _other_model(path: str, status: int, body: bytes) -> tuple[int, bytes]:
    return (status, body.replace(b'"tiny:1.0.0"', b'"other:1.0.0"')) if path == "/v1/metadata" else (status, body)


def _other_values(path: str, status: int, body: bytes) -> tuple[int, bytes]:
    return (status, body.replace(b'"data":[', b'"data":[9')) if path.startswith("/v2") else (status, body)


def _no_json(path: str, status: int, body: bytes) -> tuple[int, bytes]:
    return (status, b"<html>") if path == "/v1/infer" else (status, body)


def _flat_error(path: str, status: int, body: bytes) -> tuple[int, bytes]:
    return (status, b'{"detail": "no"}') if status == 404 else (status, body)


def _broken_metrics(path: str, status: int, body: bytes) -> tuple[int, bytes]:
    return (status, body + b"what is this\n") if path == "/v1/metrics" else (status, body)


def _other_shape(path: str, status: int, body: bytes) -> tuple[int, bytes]:
    return (status, body.replace(b"[-1,4]", b"[-1,5]")) if path.startswith("/v2/models") else (status, body)


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (_other_status, "management"),
        (_other_model, "management"),
        (_other_values, "golden-json"),
        (_no_json, "typed-inference"),
        (_flat_error, "error-envelopes"),
        (_broken_metrics, "metrics"),
        (_other_shape, "protocol"),
    ],
)
def test_each_check_finds_what_it_is_there_for(change: Change, check: str, tiny_url: str, bundle_of: BundleOf) -> None:
    """A service that is wrong in one thing fails the check of that thing."""
    with spoiling(tiny_url, change) as url:
        report = validate_service(url, Bundle.open(bundle_of("tiny")))
    assert statuses(report)[check] is Status.FAILED
    assert report.failed()


def _not_ready(path: str, status: int, body: bytes) -> tuple[int, bytes]:
    return (503, b"{}") if path == "/v1/health/ready" else (status, body)


def test_a_service_that_is_not_ready_is_asked_no_further(tiny_url: str, bundle_of: BundleOf) -> None:
    """One failure with its reason, and the rest skipped."""
    with spoiling(tiny_url, _not_ready) as url:
        report = validate_service(url, Bundle.open(bundle_of("tiny")))
    first, *others = report.results
    assert (first.name, first.status) == ("health", Status.FAILED)
    assert "503" in first.message
    assert {result.status for result in others} == {Status.SKIPPED}


@pytest.mark.parametrize(
    "reply", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nshort", None]
)
def test_whatever_answers_there_the_report_is_complete(reply: bytes | None, bundle_of: BundleOf) -> None:
    """A port that closes, talks nonsense, cuts its answer short or says nothing is a failed check, never an error."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                connection.recv(4096)
                if reply is None:
                    stop.wait(5)
                else:
                    connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        report = validate_service(url, Bundle.open(bundle_of("tiny")), timeout_s=0.5)
        stop.set()
        thread.join()
    assert [result.name for result in report.results] == list(CHECKS)
    assert report.results[0].status is Status.FAILED
    assert report.failed()
    json.dumps(report.to_dict())


def test_nobody_there_is_a_failed_check(bundle_of: BundleOf) -> None:
    """A refused connection is told in words."""
    with socket.socket() as bound:  # taken, so that nobody else listens there
        bound.bind(("127.0.0.1", 0))
        report = validate_service(f"127.0.0.1:{bound.getsockname()[1]}", Bundle.open(bundle_of("tiny")))
    assert "refused" in report.results[0].message


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://host:port", "http://host:99999", "http://h?x=1"])
def test_an_address_that_is_none_is_a_config_error(url: str) -> None:
    """The mistake is the user's, and is told before anything is asked."""
    with pytest.raises(ConfigError, match="--url"):
        Client(url, timeout_s=1)


def test_an_endless_answer_is_given_up() -> None:
    """A service that drips its answer cannot hold the client longer than the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
                    while True:  # until the client is gone
                        connection.sendall(b"x")
                        threading.Event().wait(0.01)
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.2)
        with pytest.raises(NoAnswer, match=r"within 0\.2 seconds"):
            client.get("/")
        thread.join()


def test_metrics_are_read_as_prometheus_reads_them() -> None:
    """Labels with escapes, exponents and special values are samples; anything else is not."""
    text = '# HELP a Text.\n# TYPE a counter\na{x="q\\"\\\\\\n",y="}"} 1e3\na 2\nb +Inf\nc NaN 17\n'
    samples = parse(text)
    assert samples["a"] == 1002
    assert set(samples) == {"a", "b", "c"}
    with pytest.raises(ValueError, match="neither a sample"):
        parse("a{x=1} 2\n")
