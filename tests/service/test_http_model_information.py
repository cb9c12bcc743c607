"""Configuration, statistics and the repository's index over HTTP, as `tritonclient.http` asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Ask, AssertRefused

Served = Callable[..., "RunningService"]
START_FIELDS = ("name", "version", "last_inference", "inference_count", "execution_count")


@pytest.fixture
def client(served: Served) -> Iterator[Any]:
    with triton.InferenceServerClient(served("tiny").url.removeprefix("http://")) as opened:
        yield opened


def infer(client: Any, rows: int) -> None:
    tensor = triton.InferInput("x", [rows, 4], "FP32")
    tensor.set_data_from_numpy(np.ones((rows, 4), np.float32))
    client.infer("tiny", [tensor])


def test_the_configuration_is_tritons(client: Any) -> None:
    """By name and by version, with numbers as numbers."""
    config = client.get_model_config("tiny")
    assert config == client.get_model_config("tiny", "1")
    assert (config["name"], config["backend"], config["platform"]) == ("tiny", "onnxruntime", "onnxruntime_onnx")
    assert config["max_batch_size"] > 1
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 0
    (x,) = config["input"]
    assert (x["name"], x["data_type"], x["dims"]) == ("x", "TYPE_FP32", [4])


def test_the_statistics_count_what_ran(client: Any) -> None:
    """Requests, rows and runs; times in nanoseconds; each size of a batch by itself."""
    before = client.get_inference_statistics("tiny")["model_stats"][0]
    for rows in (3, 3, 1):
        infer(client, rows)
    with pytest.raises(InferenceServerException):
        infer(client, 100_000)
    (after,) = client.get_inference_statistics("tiny", "1")["model_stats"]
    assert client.get_inference_statistics()["model_stats"] == [after]
    assert list(after)[:5] == list(START_FIELDS)
    assert after["inference_count"] - before["inference_count"] == 7
    assert after["execution_count"] - before["execution_count"] == 3
    assert after["last_inference"] > 1_700_000_000_000
    grown = {
        name: (
            after["inference_stats"][name]["count"] - part["count"],
            after["inference_stats"][name]["ns"] - part["ns"],
        )
        for name, part in before["inference_stats"].items()
    }
    assert {name: count for name, (count, _) in grown.items()} == {
        "success": 3, "fail": 1, "queue": 3, "compute_input": 3, "compute_infer": 3, "compute_output": 3,
        "cache_hit": 0, "cache_miss": 0,
    }  # fmt: skip
    assert 0 < grown["compute_infer"][1] < grown["success"][1]
    runs = {row["batch_size"]: row["compute_infer"]["count"] for row in after["batch_stats"]}
    known = {row["batch_size"]: row["compute_infer"]["count"] for row in before["batch_stats"]}
    assert runs[3] - known.get(3, 0) == 2
    assert runs[1] - known.get(1, 0) == 1


def test_the_index_names_the_one_model(client: Any, served: Served, ask: Ask) -> None:
    """Ready, and therefore there when only ready ones are asked for; the body may be left out."""
    expected = [{"name": "tiny", "version": "1", "state": "READY"}]
    assert client.get_model_repository_index() == expected
    for body in (None, b"{}", b'{"ready":true}', b'{"ready":false}'):
        assert ask(served("tiny"), "POST", "/v2/repository/index", body).json == expected


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"ready":1}', b'{"ready":"yes"}'])
def test_a_wrong_index_request_is_refused(body: bytes, served: Served, ask: Ask, assert_refused: AssertRefused) -> None:
    """As any other body that is not what it should be."""
    assert_refused(ask(served("tiny"), "POST", "/v2/repository/index", body), {400}, v2=True)


def test_the_index_of_a_starting_service_says_why(
    start_service: Callable[..., RunningService], slow_start_bundle: Path, ask: Ask
) -> None:
    """It is loading, and is left out when only ready ones are asked for."""
    starting = start_service(slow_start_bundle, "--no-verify", wait_ready=False)
    (row,) = ask(starting, "POST", "/v2/repository/index").json
    assert row == {"name": "steps", "version": "1", "state": "LOADING", "reason": "the model is loading"}
    assert ask(starting, "POST", "/v2/repository/index", b'{"ready":true}').json == []
    starting.process.kill()


@pytest.mark.parametrize(
    ("method", "path", "word"),
    [
        ("POST", "/v2/repository/models/tiny/load", "loaded"),
        ("POST", "/v2/repository/models/tiny/unload", "loaded"),
        ("GET", "/v2/systemsharedmemory/status", "Shared memory"),
        ("POST", "/v2/systemsharedmemory/region/x/register", "Shared memory"),
        ("POST", "/v2/systemsharedmemory/unregister", "Shared memory"),
        ("POST", "/v2/cudasharedmemory/region/x/register", "Shared memory"),
        ("GET", "/v2/trace/setting", "Traces"),
        ("POST", "/v2/models/tiny/trace/setting", "Traces"),
        ("GET", "/v2/logging", "Logs"),
        ("POST", "/v2/logging", "Logs"),
    ],
)
def test_what_changes_the_server_is_refused_by_name(
    method: str, path: str, word: str, served: Served, ask: Ask, assert_refused: AssertRefused
) -> None:
    """Triton's envelope with a reason, instead of a route that does not exist."""
    answer = assert_refused(ask(served("tiny"), method, path, b"{}"), {400}, v2=True)
    assert word in answer.json["error"]


def test_the_extensions_are_those_that_there_are(client: Any) -> None:
    """Clients and load generators look here before they ask."""
    extensions = client.get_server_metadata()["extensions"]
    assert {"binary_tensor_data", "classification", "model_configuration", "statistics"} <= set(extensions)
    assert not any("shared_memory" in name for name in extensions)
