"""The queue before the engine: merging, parting, refusing and forgetting, seen from outside."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Answer, Ask, AssertRefused, Dial, Scrape, ScrapeOf, Wire

Eventually = Callable[..., None]

ADDED = 100_000
LONG = 2_000_000
"""Steps that take some seconds: long enough for what a test does meanwhile, on a busy machine too."""
HELD = 999
"""An index whose run takes as long."""


@pytest.fixture(scope="module")
def lookup(start_service: Callable[..., RunningService], lookup_bundle: Path) -> RunningService:
    """A service that merges up to eight rows."""
    return start_service(lookup_bundle)


@pytest.fixture(scope="module")
def steps(start_service: Callable[..., RunningService], steps_bundle: Path) -> RunningService:
    """A service that runs one request at a time, as long as each asks for; two may wait."""
    return start_service(steps_bundle, "--max-queue-size", "2")


def _request(model: str, name: str, shape: list[int], data: list[int], **more: Any) -> bytes:
    document = {"inputs": [{"name": name, "datatype": "INT64", "shape": shape, "data": data}], **more}
    body = json.dumps(document).encode()
    return b"POST /v2/models/%s/infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (
        model.encode(),
        len(body),
        body,
    )


def _look_up(*indices: int, rows: int = 1) -> bytes:
    return _request("lookup", "index", [rows, len(indices) // rows], list(indices))


def _count(steps: int, **more: Any) -> bytes:
    return _request("steps", "x", [1], [steps], **more)


def _data(answer: Answer | None) -> list[float]:
    assert answer is not None
    assert answer.status == 200, answer.body
    data: list[float] = answer.json["outputs"][0]["data"]
    return data


class Queue:
    """What a service's metrics tell about its queue, from now on."""

    def __init__(self, scrape: ScrapeOf, service: RunningService) -> None:
        self._now: Callable[[], Scrape] = lambda: scrape(service)
        self._start = self._now()

    def grown(self, name: str, **labels: str) -> float:
        """How much a counter has grown."""
        return self._now().value(name, **labels) - self._start.value(name, **labels)

    def waiting(self) -> float:
        """How many requests wait."""
        return self._now().value("nv_inference_pending_request_count")

    def in_flight(self) -> float:
        """How many requests are being answered, without this question."""
        return self._now().value("nim_http_requests_in_flight") - 1


def _occupy(wire: Wire, request: bytes, queue: Queue, eventually: Eventually) -> None:
    """Send a request and wait until the engine runs it."""
    wire.send(request)
    eventually(lambda: queue.in_flight() == 1 and queue.waiting() == 0, what="the engine's being busy")


def test_requests_that_queue_run_together_and_get_their_own_rows(
    lookup: RunningService, dial: Dial, scrape: ScrapeOf, eventually: Eventually
) -> None:
    """Only those of one length are merged, and each answer has the rows of its request."""
    queue = Queue(scrape, lookup)
    requests = [[10 * number + column for column in range(2 + number % 2)] for number in range(10)]
    wires = [dial(lookup) for _ in range(11)]
    _occupy(wires[0], _look_up(HELD), queue, eventually)
    for wire, request in zip(wires[1:], requests, strict=True):
        wire.send(_look_up(*request))
    eventually(lambda: queue.waiting() == 10, what="the queue")
    assert _data(wires[0].answer()) == [ADDED + HELD]
    for wire, request in zip(wires[1:], requests, strict=True):
        assert _data(wire.answer()) == [ADDED + index for index in request]
    assert queue.grown("nv_inference_request_success") == 11
    assert queue.grown("nv_inference_count") == 11
    assert queue.grown("nv_inference_exec_count") == 3
    assert queue.grown("nim_batch_size_count") == 3
    assert queue.grown("nim_batch_size_bucket", le="4") == 1
    assert queue.grown("nim_batch_size_bucket", le="8") == 3


def test_a_batch_has_no_more_rows_than_planned(
    lookup: RunningService, dial: Dial, scrape: ScrapeOf, eventually: Eventually
) -> None:
    """Three requests of three rows take two runs of an engine that takes eight."""
    queue = Queue(scrape, lookup)
    wires = [dial(lookup) for _ in range(4)]
    _occupy(wires[0], _look_up(HELD), queue, eventually)
    for number, wire in enumerate(wires[1:]):
        wire.send(_look_up(*range(number, number + 6), rows=3))
    eventually(lambda: queue.waiting() == 3)
    assert _data(wires[0].answer()) == [ADDED + HELD]
    for number, wire in enumerate(wires[1:]):
        assert _data(wire.answer()) == [ADDED + index for index in range(number, number + 6)]
    assert queue.grown("nv_inference_exec_count") == 3
    assert queue.grown("nv_inference_count") == 10


def test_a_bad_request_in_a_batch_fails_alone(
    lookup: RunningService, dial: Dial, scrape: ScrapeOf, eventually: Eventually, assert_refused: AssertRefused
) -> None:
    """An index that the model refuses costs its sender a 400, and its neighbours nothing."""
    queue = Queue(scrape, lookup)
    wires = [dial(lookup) for _ in range(6)]
    _occupy(wires[0], _look_up(HELD, 8), queue, eventually)
    indices = [1, 2, 1000, 4, 5]
    for wire, index in zip(wires[1:], indices, strict=True):
        wire.send(_look_up(index, index + 1))
    eventually(lambda: queue.waiting() == 5)
    assert _data(wires[0].answer()) == [ADDED + HELD, ADDED + 8]
    for wire, index in zip(wires[1:], indices, strict=True):
        answer = wire.answer()
        if index == 1000:
            assert_refused(answer, {400}, v2=True)
        else:
            assert _data(answer) == [ADDED + index, ADDED + index + 1]
    assert queue.grown("nv_inference_request_failure", reason="BACKEND") == 1
    assert queue.grown("nv_inference_request_success") == 5


def test_a_full_queue_refuses_and_tells_when_to_come_back(
    steps: RunningService, dial: Dial, ask: Ask, scrape: ScrapeOf, eventually: Eventually, assert_refused: AssertRefused
) -> None:
    """503 with Retry-After at once, on both APIs; those who wait are served."""
    queue = Queue(scrape, steps)
    wires = [dial(steps) for _ in range(3)]
    _occupy(wires[0], _count(LONG), queue, eventually)
    for number, wire in enumerate(wires[1:]):
        wire.send(_count(number + 1))
    eventually(lambda: queue.waiting() == 2)
    refused = _count(9).partition(b"\r\n\r\n")[2]
    for path, body in (("/v2/models/steps/infer", refused), ("/v1/infer", b'{"inputs":{"x":[9]}}')):
        answer = ask(steps, "POST", path, body)
        assert_refused(answer, {503}, v2=path.startswith("/v2"))
        assert int(answer.headers["retry-after"]) >= 1
    assert [_data(wire.answer()) for wire in wires] == [[2.0 * LONG], [2.0], [4.0]]
    assert queue.grown("nv_inference_request_failure", reason="REJECTED") == 2


def test_a_request_that_waits_too_long_is_given_up(
    steps: RunningService, dial: Dial, scrape: ScrapeOf, eventually: Eventually, assert_refused: AssertRefused
) -> None:
    """504 when the client's own timeout passes in the queue; it never runs."""
    queue = Queue(scrape, steps)
    with dial(steps) as busy, dial(steps) as waiting:
        _occupy(busy, _count(LONG), queue, eventually)
        waiting.send(_count(3, parameters={"timeout": 20_000}))
        assert_refused(waiting.answer(), {504}, v2=True)
        assert _data(busy.answer()) == [2.0 * LONG]
        waiting.send(_count(3))
        assert _data(waiting.answer()) == [6.0]
    assert queue.grown("nv_inference_exec_count") == 2
    assert queue.grown("nv_inference_request_failure", reason="REJECTED") == 1


def test_a_request_that_runs_too_long_is_answered_in_time(
    start_service: Callable[..., RunningService],
    steps_bundle: Path,
    dial: Dial,
    scrape: ScrapeOf,
    eventually: Eventually,
    assert_refused: AssertRefused,
) -> None:
    """504 at the service's deadline although the engine still runs; then the service goes on."""
    service = start_service(steps_bundle, "--request-timeout", "0.1")
    queue = Queue(scrape, service)
    with dial(service) as wire:
        wire.send(_count(LONG // 2))  # not so long that the service gives the engine up
        assert_refused(wire.answer(), {504}, v2=True)
        eventually(lambda: queue.grown("nv_inference_exec_count") == 1, what="the end of the run")
        rejected, answer = 0, None
        while answer is None or answer.status == 504:
            # On a busy machine, even a request that runs at once may take too long.
            rejected += 1
            wire.send(_count(3))
            answer = wire.answer()
            assert answer is not None
        assert _data(answer) == [6.0]
    assert queue.grown("nv_inference_request_failure", reason="REJECTED") == rejected
    assert queue.grown("nv_inference_request_success") == 1
    assert queue.in_flight() == 0


def test_a_client_that_leaves_takes_its_request_along(
    steps: RunningService, dial: Dial, scrape: ScrapeOf, eventually: Eventually
) -> None:
    """It is counted as cancelled, and the engine never sees it."""
    queue = Queue(scrape, steps)
    with dial(steps) as busy:
        _occupy(busy, _count(LONG), queue, eventually)
        with dial(steps) as leaving:
            leaving.send(_count(100))
            eventually(lambda: queue.waiting() == 1)
            leaving.reset()
        eventually(lambda: queue.grown("nv_inference_request_failure", reason="CANCELED") == 1)
        assert queue.in_flight() == 1
        assert _data(busy.answer()) == [2.0 * LONG]
        busy.send(_count(1))
        assert _data(busy.answer()) == [2.0]
    assert queue.grown("nv_inference_exec_count") == 2
    assert queue.grown("nv_inference_request_success") == 2


def test_a_long_run_does_not_hold_up_the_front(
    steps: RunningService, dial: Dial, ask: Ask, scrape: ScrapeOf, eventually: Eventually
) -> None:
    """Health and metadata are answered while the engine works."""
    queue = Queue(scrape, steps)
    with dial(steps) as busy:
        _occupy(busy, _count(LONG), queue, eventually)
        for path in ("/v1/health/live", "/v1/health/ready", "/v2/models/steps"):
            assert ask(steps, "GET", path, timeout_s=60).status == 200
        assert queue.in_flight() == 1, "the run was over before the questions"
        assert _data(busy.answer()) == [2.0 * LONG]


def test_a_run_that_is_long_for_its_values_does_not_hold_up_health_checks(
    start_service: Callable[..., RunningService], fixed_steps_bundle: Path
) -> None:
    """With zeros, as in the warm-up, the model looks quick enough for the event loop; its Loop says otherwise."""
    service = start_service(fixed_steps_bundle)
    document = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [LONG]}]}
    request = urllib.request.Request(f"{service.url}/v2/models/fixed-steps/infer", json.dumps(document).encode())
    with ThreadPoolExecutor(1) as pool:
        long_run = pool.submit(lambda: urllib.request.urlopen(request, timeout=60).read())
        while b"nim_http_requests_in_flight 2" not in _get(f"{service.url}/v1/metrics"):
            assert not long_run.done()
        assert json.loads(_get(f"{service.url}/v1/health/live"))["live"] is True
        assert not long_run.done()
        assert json.loads(long_run.result())["outputs"][0]["data"] == [2 * LONG]


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as response:
        body: bytes = response.read()
        return body
