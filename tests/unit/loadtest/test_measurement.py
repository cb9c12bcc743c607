"""A measurement counts every request once, under what really happened to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nimify.conformance.address import Address
from nimify.conformance.client import Client
from nimify.errors import EnvironmentProblem
from nimify.loadtest.loops import MAX_CONNECTIONS
from nimify.loadtest.measurement import Glance, Measurement
from nimify.loadtest.pool import Traffic
from nimify.loadtest.session import LoadTest, run

if TYPE_CHECKING:
    from tests.conftest import ServiceStarter
    from tests.unit.loadtest.conftest import MannersService


WIRE = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: m\r\ncontent-length: 2\r\n\r\n{}"


def measurement(
    service: MannersService, *, duration_s: float = 0.5, timeout_s: float = 30.0, watch: list[Glance] | None = None
) -> Measurement:
    address = Address.parse(service.url)
    client = Client(service.url, timeout_s=0.1)
    glances: list[Glance] = [] if watch is None else watch
    return Measurement(Traffic(address, [WIRE], timeout_s), client, duration_s, 0.1, glances.append)


def test_a_closed_loop_counts_every_answer(service: MannersService) -> None:
    """What was answered is no more than what the service saw, and its quantiles rise."""
    point = measurement(service).closed(4)
    assert 0 < point.requests <= service.manners.requests
    assert point.failed == 0
    assert list(point.latencies_s.values()) == sorted(point.latencies_s.values())
    assert point.throughput == pytest.approx(point.requests / point.elapsed_s)


def test_a_service_without_metrics_is_measured_without_them(service: MannersService) -> None:
    """Nothing is shown where nothing is known."""
    assert measurement(service).closed(1).server is None


def test_an_open_loop_sends_at_its_rate(service: MannersService) -> None:
    """The number of requests follows the rate, not the speed of the service."""
    point = measurement(service, duration_s=3.0).open(200)
    assert 300 < point.requests < 900
    assert point.failed == 0


def test_an_open_loop_sees_the_waiting_that_a_closed_loop_hides(service: MannersService) -> None:
    """While the service stands still, those who would have come are late as well, and count."""
    service.manners.stall_at, service.manners.stall_s = 60, 0.5
    late = measurement(service, duration_s=1.0).open(200)
    assert late.latencies_s["p90"] > 0.05
    assert late.failed == 0


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "503"),
        (b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n", "429"),
        (b"220 mail.example ESMTP\r\n", "no HTTP answer"),
        (b"", "timeout"),
    ],
)
def test_each_failure_is_counted_under_its_own_name(service: MannersService, answer: bytes, kind: str) -> None:
    """An answer that is none, a refusal and silence are told apart."""
    service.manners.answer = answer
    point = measurement(service, duration_s=2.0, timeout_s=30.0 if answer else 0.5).closed(2)
    # A machine that is busy elsewhere may not even connect in the time after which silence is one.
    assert {kind} <= set(point.failures) <= {kind, *([] if answer else ["cannot connect"])}
    assert point.requests == point.failed > 0
    assert point.latencies_s == {}


def test_a_connection_that_is_closed_in_the_middle_is_a_lost_request(service: MannersService) -> None:
    """Half an answer is no answer."""
    service.manners.answer, service.manners.close = service.manners.answer[:-1], True
    point = measurement(service).closed(2)
    assert set(point.failures) == {"connection lost"}


def test_a_service_that_closes_after_each_answer_is_no_failure(service: MannersService) -> None:
    """`Connection: close` is the service's right."""
    service.manners.answer = service.manners.answer.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    service.manners.close = True
    point = measurement(service).closed(2)
    assert point.failed == 0
    assert point.requests > 2


def test_an_overrun_open_loop_says_that_requests_were_not_sent(service: MannersService) -> None:
    """A service that never answers gets no more connections than the limit, and the rest is counted as failed."""
    service.manners.answer = b""
    # Longer than a busy machine takes for it all: a connection that times out gives way to another.
    traffic = Traffic(Address.parse(service.url), [WIRE], 20.0)
    point = Measurement(traffic, None, 0.3, 0.1).open(3000)  # nothing else, such as metrics, is asked of the service
    assert any(kind.startswith("not sent") for kind in point.failures)
    assert service.manners.requests <= MAX_CONNECTIONS


def test_a_service_that_is_not_there_is_an_error() -> None:
    """Nobody listens: there is nothing to measure."""
    address = Address.parse("127.0.0.1:1")
    client = Client("http://127.0.0.1:1", timeout_s=1.0)
    with pytest.raises(EnvironmentProblem, match="cannot be reached"):
        Measurement(Traffic(address, [b""]), client, 0.1, 0.0).closed(1)


def test_whoever_watches_sees_the_end(service: MannersService) -> None:
    """The last glance says that all of the time is over."""
    glances: list[Glance] = []
    measurement(service, watch=glances).closed(1)
    assert glances[-1].share == 1.0
    assert [glance.requests for glance in glances] == sorted(glance.requests for glance in glances)


def test_a_real_service_says_what_a_request_costs_it(
    start_service: ServiceStarter, make_bundle: Callable[..., Path]
) -> None:
    """CPU, memory and the mean batch come from its own metrics."""
    bundle = make_bundle("digits")
    service = start_service(bundle)
    report = run(LoadTest(service.url, bundle, connections=(2,), duration_s=0.5, warmup_s=0.1))
    (point,) = report.points
    assert point.failed == 0
    assert point.server is not None
    assert point.server.memory_bytes is not None
    assert point.server.memory_bytes > 10e6
    assert point.server.mean_batch is not None
    assert report.model == "digits"
