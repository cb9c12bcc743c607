"""What counts against the service, and what is the client's own doing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.service.conftest import Ask, ScrapeOf


def test_a_wrong_request_spends_no_budget(served: Callable[..., Any], ask: Ask, scrape: ScrapeOf) -> None:
    """It fails, and no objective suffers."""
    service = served("tiny")
    before = scrape(service)
    assert ask(service, "POST", "/v2/models/tiny/infer", {"inputs": []}).status == 400
    after = scrape(service)
    failure, errors = "nv_inference_request_failure", "nim_request_errors_total"
    assert after.value(failure, reason="OTHER") == before.value(failure, reason="OTHER") + 1
    assert after.value(errors) == before.value(errors)


def test_a_deadline_that_passes_spends_budget(
    start_service: Callable[..., Any], steps_bundle: Any, ask: Ask, scrape: ScrapeOf
) -> None:
    """The service owed an answer in time, and gave none."""
    service = start_service(steps_bundle, "--no-grpc", "--request-timeout", "0.05")
    slow = {"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [1_000_000]}]}
    assert ask(service, "POST", "/v2/models/steps/infer", slow).status == 504
    assert scrape(service).value("nim_request_errors_total", type="deadline_exceeded") == 1


def test_the_limits_are_told(
    start_service: Callable[..., Any], make_bundle: Callable[..., Any], scrape: ScrapeOf
) -> None:
    """As they are in force, whoever set them."""
    service = start_service(make_bundle("tiny"), "--no-grpc", "--max-connections", "77", "--max-queue-size", "33")
    told = scrape(service)
    assert told.value("nim_http_connections_limit") == 77
    assert told.value("nim_queue_limit") == 33
