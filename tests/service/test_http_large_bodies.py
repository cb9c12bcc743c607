"""Large bodies, which are read and written beside the event loop: the same answers, each to its own request."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pytest

from nimify.testing.graph_builder import GraphBuilder

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Ask, AssertRefused


@pytest.fixture(scope="module")
def doubling(start_service: Callable[..., RunningService], make_bundle_of: Callable[..., Path]) -> RunningService:
    """`x` FP32[batch, n, 3] to `y` = 2 x."""
    graph = GraphBuilder("doubling")
    x = graph.input("x", "FP32", ["batch", "n", 3])
    graph.output(graph.op("Add", x, x, out="y"), "FP32", ["batch", "n", 3])
    return start_service(make_bundle_of("doubling", graph.model()), "--no-grpc")


def drawn(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).integers(-1000, 1000, size=(2, 20_000, 3)).astype(np.float32)


def test_large_requests_at_once_get_each_their_own_answer(doubling: RunningService, ask: Ask) -> None:
    """Through both APIs, flat and nested, from eight clients."""

    def request(seed: int) -> bool:
        values = drawn(seed)
        if seed % 3 == 0:
            answer = ask(doubling, "POST", "/v1/infer", orjson.dumps({"inputs": {"x": values.tolist()}}))
            found = np.array(answer.json["outputs"]["y"], np.float32)
        else:
            data = values.reshape(-1).tolist() if seed % 3 == 1 else values.tolist()
            tensor = {"name": "x", "datatype": "FP32", "shape": list(values.shape), "data": data}
            answer = ask(
                doubling, "POST", "/v2/models/doubling/infer", orjson.dumps({"inputs": [tensor], "id": f"{seed}"})
            )
            assert answer.json["id"] == f"{seed}"
            found = np.array(answer.json["outputs"][0]["data"], np.float32).reshape(values.shape)
        return bool((found == values * 2).all())

    with ThreadPoolExecutor(8) as clients:
        assert all(clients.map(request, range(24)))


@pytest.mark.parametrize("path", ["/v1/infer", "/v2/models/doubling/infer"])
@pytest.mark.parametrize("wrong", ["ragged", "text", "depth", "cut"])
def test_a_wrong_large_body_is_refused(
    path: str, wrong: str, doubling: RunningService, ask: Ask, assert_refused: AssertRefused
) -> None:
    """400, as for a short one."""
    rows = drawn(1)[:1].tolist()
    if wrong == "ragged":
        rows[0][-1] = [1.0, 2.0]
    elif wrong == "text":
        rows[0][-1] = [1.0, 2.0, "3"]
    elif wrong == "depth":
        rows = [rows]
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 20_000, 3], "data": rows}
    document = {"inputs": {"x": rows}} if path.startswith("/v1") else {"inputs": [tensor]}
    body = orjson.dumps(document)
    answer = ask(doubling, "POST", path, body[:-20] if wrong == "cut" else body)
    assert_refused(answer, {400}, v2=path.startswith("/v2"))
