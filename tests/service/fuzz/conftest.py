"""The service that is attacked, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.service.fuzz.campaign import Campaign
from tests.service.fuzz.judges import GrpcJudge, HttpJudge

from nimify.testing.graph_builder import GraphBuilder

if TYPE_CHECKING:
    from tests.conftest import RunningService

SURFACES = 6


@pytest.fixture(scope="session")
def campaign() -> Campaign:
    """How long, and from which seed."""
    return Campaign.from_environment(surfaces=SURFACES)


@pytest.fixture(scope="module")
def attacked(start_service: Callable[..., RunningService], make_bundle_of: Callable[..., Path]) -> RunningService:
    """`x` FP32[batch, n] and `words` BYTES[batch, m] to `y` = 2 x and `said` = words; with short deadlines."""
    graph = GraphBuilder("fuzzed")
    x = graph.input("x", "FP32", ["batch", "n"])
    words = graph.input("words", "BYTES", ["batch", "m"])
    graph.output(graph.op("Add", x, x, out="y"), "FP32", ["batch", "n"])
    graph.output(graph.op("Identity", words, out="said"), "BYTES", ["batch", "m"])
    return start_service(
        make_bundle_of("fuzzed", graph.model()),
        *("--header-timeout", "2s", "--body-timeout", "2s", "--keep-alive", "2s", "--max-body-size", "2MiB"),
    )


@pytest.fixture(scope="module")
def judges(attacked: RunningService) -> dict[str, HttpJudge | GrpcJudge]:
    """Who judges the answers, by surface."""
    return {
        **dict.fromkeys(("framing", "documents", "tensors"), HttpJudge(attacked)),
        **dict.fromkeys(("frame_sequences", "header_blocks", "messages"), GrpcJudge(attacked)),
    }
