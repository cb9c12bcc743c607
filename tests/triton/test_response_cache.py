"""Triton's own response cache: switched on by the plan, sized by the service, and told by our own figures."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.triton.clients import eventually

if TYPE_CHECKING:
    from tests.triton.conftest import StartTriton, TritonService

pytestmark = pytest.mark.triton


def _infer(service: TritonService) -> list[float]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    body = json.dumps({"inputs": [tensor]}).encode()
    with urllib.request.urlopen(f"{service.front.url}/v2/models/tiny/infer", body, timeout=60) as response:
        data: list[float] = json.load(response)["outputs"][0]["data"]
        return data


def _counts(service: TritonService) -> dict[str, int]:
    with urllib.request.urlopen(f"{service.front.url}/v2/models/tiny/stats", timeout=60) as response:
        statistics: dict[str, Any] = json.load(response)["model_stats"][0]["inference_stats"]
    return {name: int(part["count"]) for name, part in statistics.items()}


def test_triton_answers_equal_requests_from_its_cache(
    start_triton: StartTriton, make_bundle: Callable[..., Path]
) -> None:
    """Real hits of the real server, counted by the service and by its metrics."""
    service = start_triton(make_bundle("tiny", response_cache={"size": "1Mi"}), env={"NIMIFY_RESPONSE_CACHE": "4MiB"})
    assert "--cache-config=local,size=4194304" in Path(f"/proc/{service.pid}/cmdline").read_text().split("\0")
    assert [_infer(service) for _ in range(5)] == [[2, 3, 4, 5]] * 5
    eventually(lambda: _counts(service)["cache_hit"] == 4, what="four hits")
    counts = _counts(service)
    assert (counts["cache_miss"], counts["success"]) == (1, 5)
    with urllib.request.urlopen(f"{service.front.url}/v1/metrics", timeout=60) as response:
        page = response.read().decode()
    assert 'nv_cache_num_hits_per_model{model="tiny",version="1"} 4' in page
    assert "nim_response_cache_limit_bytes" in page


def test_a_cache_that_is_switched_off_leaves_the_model_served(
    start_triton: StartTriton, make_bundle: Callable[..., Path]
) -> None:
    """The configuration still lets Triton remember, and it has nothing to do that with."""
    service = start_triton(make_bundle("tiny", response_cache={"size": "1Mi"}), env={"NIMIFY_RESPONSE_CACHE": "0"})
    assert "--cache-config" not in Path(f"/proc/{service.pid}/cmdline").read_text()
    assert [_infer(service) for _ in range(2)] == [[2, 3, 4, 5]] * 2
    assert _counts(service)["cache_hit"] == 0
