"""An engine that crashes, hangs or fails: what it costs, whom it costs, and what comes after."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.load.background import BackgroundLoad
from tests.load.load import mixed_clients
from tests.load.questions import Oracle, keyed_model
from tests.service import faulty_engine
from tests.service.faulty_engine import Order

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Ask, AssertRefused, Dial, ScrapeOf

Eventually = Callable[..., None]
CLIENTS = 8


@pytest.fixture(scope="module")
def start_faulty(
    start_service: Callable[..., RunningService],
    make_bundle_of: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., RunningService]:
    """Serve the keyed model with the faulty engine, from a package beside nimify's."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copy(faulty_engine.__file__, folder / "faulty_engine.py")
    information = folder / "faulty_engine-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-engine\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[nimify.engines]\nfaulty = faulty_engine:FaultyEngine\n")
    bundle = make_bundle_of("keyed", keyed_model())
    plan = json.loads((bundle / "plan.json").read_text())
    plan["service"]["engine"] = "faulty"
    (bundle / "plan.json").write_text(json.dumps(plan))

    def start(*options: str) -> RunningService:
        return start_service(bundle, *options, env={"PYTHONPATH": str(folder)})

    return start


def give(order: Order) -> dict[str, Any]:
    return {"inputs": {"x": [[order.value]], "key": [[1]]}}


def request(order: Order) -> bytes:
    body = json.dumps(give(order)).encode()
    return b"POST /v1/infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


CRASHES = {
    Order.ABORT: signal.SIGABRT,
    Order.SEGMENTATION_FAULT: signal.SIGSEGV,
    Order.BUS_ERROR: signal.SIGBUS,
}


def test_a_crash_in_native_code_costs_one_worker_s_requests(
    start_faulty: Callable[..., RunningService], dial: Dial, scrape: ScrapeOf, eventually: Eventually
) -> None:
    """The other worker answers on, rightly; the dead one is replaced, and the log names the signal."""
    service = start_faulty("--workers", "2")

    with BackgroundLoad(
        Oracle(keyed_model()), lambda: mixed_clients(service.port, service.grpc_address, count=CLIENTS)
    ) as load:
        for number, order in enumerate(CRASHES, start=1):
            answered = load.tally.answered
            eventually(lambda goal=answered + 50: load.tally.answered > goal, what="answers", timeout_s=60)
            with dial(service, timeout_s=30) as victim:
                victim.send(request(order))
                assert victim.answer() is None
            eventually(
                lambda done=number: scrape(service).value("nim_worker_restarts_total") == done,
                what="a replacement",
                timeout_s=60,
            )

    assert load.tally.wrong == []
    assert len(load.tally.failed) <= 2 * CLIENTS * len(CRASHES), load.tally.failed
    log = service.log.read_text()
    for number in CRASHES.values():
        assert f"cause={number.name}" in log
    assert service.stop() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_crash_is_told_to_who_started_the_service(
    workers: str, start_faulty: Callable[..., RunningService], ask: Ask, dial: Dial, eventually: Eventually
) -> None:
    """With one process the signal is its exit status; with two workers the service goes on, ready all the while."""
    service = start_faulty("--workers", workers)
    with dial(service, timeout_s=30) as victim:
        victim.send(request(Order.ABORT))
        assert victim.answer() is None
    if workers == "1":
        assert service.process.wait(60) == -signal.SIGABRT
    else:
        assert ask(service, "GET", "/v1/health/ready").status == 200


def test_an_engine_that_fails_costs_the_request_that_made_it(
    start_faulty: Callable[..., RunningService], ask: Ask, assert_refused: AssertRefused
) -> None:
    """500 without a word of the engine's own, 503 when it ran out of memory; and the next request is answered."""
    service = start_faulty()
    answer = ask(service, "POST", "/v1/infer", give(Order.EXCEPTION))
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert b"passwd" not in answer.body
    answer = assert_refused(ask(service, "POST", "/v1/infer", give(Order.NO_MEMORY)), {503}, v2=False)
    assert answer.headers["retry-after"] == "1"
    assert ask(service, "POST", "/v1/infer", {"inputs": {"x": [[1]], "key": [[2]]}}).json["outputs"]["y"] == [[3.0]]
    assert service.stop() == 0


@pytest.mark.slow
def test_an_engine_that_hangs_is_given_up(
    start_faulty: Callable[..., RunningService], ask: Ask, scrape: ScrapeOf, eventually: Eventually
) -> None:
    """Its requests get 504 in time, health is answered, the other worker works, and a new one takes its place."""
    service = start_faulty("--workers", "2", "--request-timeout", "5s")
    assert ask(service, "POST", "/v1/infer", give(Order.HANG)).status == 504
    assert ask(service, "GET", "/v1/health/live").status == 200
    eventually(lambda: _answers(ask, service), what="the other worker's answer", timeout_s=120)
    eventually(lambda: _restarts(scrape, service) == 1, what="a replacement", timeout_s=120)
    assert "the engine hangs" in service.log.read_text()
    for _ in range(20):
        assert _answers(ask, service)


def _restarts(scrape: ScrapeOf, service: RunningService) -> float:
    try:
        return scrape(service).value("nim_worker_restarts_total")
    except OSError:  # the worker that is given up had the connection
        return -1.0


def _answers(ask: Ask, service: RunningService) -> bool:
    try:
        return ask(service, "POST", "/v1/infer", {"inputs": {"x": [[1]], "key": [[2]]}}).status == 200
    except OSError:  # the worker that is given up had the connection
        return False
