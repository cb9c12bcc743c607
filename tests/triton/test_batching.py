"""Triton's batches behind our front: they form, a bad request fails alone, and the queue has its limits."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.triton.clients import eventually

from nimify import ModelConfig, Nimifier
from nimify.testing import models
from nimify.testing.graph_builder import GraphBuilder

if TYPE_CHECKING:
    from tests.triton.conftest import StartTriton, TritonService

pytestmark = pytest.mark.triton

ADDED = 20_000


@pytest.fixture
def make_lookup(tmp_path: Path) -> Callable[..., Path]:
    """A bundle that maps `index` INT64[batch, 1] below 1000 to `y` = index + ADDED, in some 20 ms."""

    def make(**config: Any) -> Path:
        graph = GraphBuilder("lookup")
        index = graph.input("index", "INT64", ["batch", 1])
        row = graph.op("Gather", graph.constant(range(1000)), index)
        body = GraphBuilder("body")
        body.input("step", "INT64", [])
        body.input("go_on", "BOOL", [])
        state = body.input("state", "FP32", ["batch", 1])
        body.output(body.op("Identity", "go_on", out="go_on_out"), "BOOL", [])
        body.output(body.op("Add", state, body.constant(1.0), out="state_out"), "FP32", ["batch", 1])
        trips, always = graph.constant(ADDED, "int64"), graph.constant(True, "bool")
        graph.op("Loop", trips, always, row, out="y", body=body.graph())
        graph.output("y", "FP32", ["batch", 1])
        model = models.save(graph.model(), tmp_path / "lookup.onnx")
        return Nimifier(ModelConfig.build({"name": "lookup", **config})).create(model, tmp_path / "bundle").folder

    return make


def _look_up(service: TritonService, index: int, **parameters: int) -> tuple[int, Any]:
    """The status and the value, or the error."""
    tensor = {"name": "index", "datatype": "INT64", "shape": [1, 1], "data": [index]}
    body = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    try:
        with urllib.request.urlopen(f"{service.front.url}/v2/models/lookup/infer", body, timeout=60) as response:
            return response.status, json.load(response)["outputs"][0]["data"][0]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]


def _metric(service: TritonService, name: str) -> float:
    with urllib.request.urlopen(f"{service.front.url}/v1/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{"))


def test_requests_are_merged_by_triton_and_counted(start_triton: StartTriton, make_lookup: Callable[..., Path]) -> None:
    """Fewer runs than rows, as Triton's own statistics tell; and every answer is its request's."""
    service = start_triton(make_lookup(batching={"max_batch_size": 8}))
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda index: _look_up(service, index), range(96)))
    assert answers == [(200, float(index + ADDED)) for index in range(96)]
    eventually(lambda: _metric(service, "nv_inference_count") == 96, what="the count of rows")
    runs = _metric(service, "nv_inference_exec_count")
    assert 12 <= runs < 96
    assert _metric(service, "nim_batch_size_count") == runs
    assert _metric(service, "nim_batch_size_sum") == 96


def test_bad_requests_fail_alone_in_a_crowd(start_triton: StartTriton, make_lookup: Callable[..., Path]) -> None:
    """Triton fails the whole batch of a bad request; the front runs its neighbours again."""
    service = start_triton(make_lookup(batching={"max_batch_size": 8}))
    indices = [5000 if number % 7 == 3 else number for number in range(64)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda index: _look_up(service, index), indices))
    for index, (status, value) in zip(indices, answers, strict=True):
        if index == 5000:
            assert (status, value) == (400, "The model cannot process these input values.")
        else:
            assert (status, value) == (200, float(index + ADDED))


def test_a_full_queue_refuses_at_once(start_triton: StartTriton, make_lookup: Callable[..., Path]) -> None:
    """503 for those beyond the limit; those who wait are served."""
    bundle = make_lookup(batching={"max_batch_size": 0}, limits={"max_queue_size": 3})
    service = start_triton(bundle)
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda index: _look_up(service, index), range(24)))
    assert {status for status, _ in answers} == {200, 503}
    for index, (status, value) in enumerate(answers):
        assert status == 503 or value == index + ADDED


@pytest.mark.parametrize("rows", [0, 2], ids=["unbatched", "batched"])
def test_a_deadline_in_the_queue_is_kept(
    rows: int, start_triton: StartTriton, make_lookup: Callable[..., Path]
) -> None:
    """A client's own timeout ends its wait with 504, whether it waits here or in Triton's queue."""
    service = start_triton(make_lookup(batching={"max_batch_size": rows}))
    with ThreadPoolExecutor(128) as pool:
        patient = [pool.submit(_look_up, service, index) for index in range(128)]
        eventually(lambda: _metric(service, "nv_inference_pending_request_count") > 4, what="a queue")
        status, text = _look_up(service, 7, timeout=1000)
        assert (status, text) == (504, "The request's deadline passed while it was queued.")
        assert [future.result() for future in patient] == [(200, float(index + ADDED)) for index in range(128)]
