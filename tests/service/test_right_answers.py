"""Under load, each client gets the answer to its own question: exactly what ONNX Runtime gives without a service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.load.load import Load, Tally, mixed_clients
from tests.load.questions import Oracle, keyed_model

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import ScrapeOf

QUESTIONS = 10_000
CONNECTIONS = 64


@pytest.mark.slow
@pytest.mark.parametrize("width", [5, 0], ids=["on-the-event-loop", "on-the-engine's-thread"])
def test_ten_thousand_questions_at_once_get_each_their_own_answer(
    width: int,
    start_service: Callable[..., RunningService],
    make_bundle_of: Callable[..., Path],
    scrape: ScrapeOf,
) -> None:
    """JSON of both APIs, binary and gRPC mixed over 64 connections, merged into batches and parted again."""
    model = keyed_model(width=width)
    service = start_service(make_bundle_of("keyed", model, batching={"max_batch_size": 16}))

    async def ask_all() -> Tally:
        clients = mixed_clients(service.port, service.grpc_address, count=CONNECTIONS)
        return await Load(Oracle(model), clients, most=QUESTIONS, width=width).run()

    tally = asyncio.run(ask_all())
    assert tally.wrong == []
    assert tally.failed == []
    assert tally.answered == QUESTIONS
    after = scrape(service)
    assert after.value("nv_inference_request_success") == QUESTIONS
    assert after.value("nv_inference_exec_count") < QUESTIONS
    assert service.stop() == 0
