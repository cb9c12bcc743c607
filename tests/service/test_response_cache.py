"""The response cache: which requests are answered from it, in every protocol, and which never are."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from nimify.testing.graph_builder import GraphBuilder

if TYPE_CHECKING:
    from tests.conftest import RunningService, ServiceStarter
    from tests.service.conftest import Answer, Ask, ScrapeOf

INFER = "/v2/models/tiny/infer"
CHOSEN = "/v2/models/several-outputs/infer"

TENFOLD = """
class Tenfold:
    def outer(self, inner):
        return inner

    def __call__(self, tensors):
        for array in tensors.values():
            array *= 10
        return tensors
"""


class Counters:
    """What a service's cache has done, from now on."""

    def __init__(self, scrape: ScrapeOf, service: RunningService) -> None:
        self._scrape = scrape
        self._service = service
        self._start = self._now()

    def _now(self) -> tuple[float, float, float]:
        page = self._scrape(self._service)
        names = ("nv_cache_num_hits_per_model", "nv_cache_num_misses_per_model", "nv_inference_count")
        hits, misses, rows = (page.value(name) for name in names)
        return hits, misses, rows

    @property
    def grown(self) -> tuple[int, int, int]:
        """Hits, misses, and rows that the engine ran."""
        hits, misses, rows = (int(now - then) for now, then in zip(self._now(), self._start, strict=True))
        return hits, misses, rows


@pytest.fixture(scope="module")
def cached(start_service: ServiceStarter, make_bundle: Callable[..., Path]) -> RunningService:
    """A service whose bundle asks for a cache."""
    return start_service(make_bundle("tiny", response_cache={"size": "1Mi"}))


@pytest.fixture(scope="module")
def stub(cached: RunningService) -> Iterator[Any]:
    with grpc.insecure_channel(cached.grpc_address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture
def counters(scrape: ScrapeOf, cached: RunningService) -> Counters:
    return Counters(scrape, cached)


def _body(*rows: list[float], **more: Any) -> dict[str, Any]:
    flat = [value for row in rows for value in row]
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [len(rows), 4], "data": flat}], **more}


def _message(row: list[float]) -> Any:
    request = service_pb2.ModelInferRequest(model_name="tiny")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4]).contents.fp32_contents.extend(row)
    return request


def _values(answer: Answer) -> list[float]:
    assert answer.status == 200, answer.body
    values: list[float] = answer.json["outputs"][0]["data"]
    return values


def test_an_equal_request_does_not_run_the_model_again(cached: RunningService, ask: Ask, counters: Counters) -> None:
    """The answer is the same, byte for byte, but for the id that is the request's own."""
    first, second = (ask(cached, "POST", INFER, _body([1, 2, 3, 4])) for _ in range(2))
    third = ask(cached, "POST", INFER, _body([1, 2, 3, 4], id="third"))
    assert first.body == second.body
    assert third.json == {**first.json, "id": "third"}
    assert _values(first) == [2, 3, 4, 5]
    assert counters.grown == (2, 1, 1)


def test_a_request_finds_what_was_asked_in_another_protocol(
    cached: RunningService, ask: Ask, stub: Any, counters: Counters
) -> None:
    """JSON, raw tensors, the typed API, gRPC and its stream share one memory, and each answers in its own words."""
    row = [10.0, 20.0, 30.0, 40.0]
    raw = struct.pack("<4f", *row)
    assert _values(ask(cached, "POST", INFER, _body(row))) == [11, 21, 31, 41]
    binary = ask(cached, "POST", INFER, raw, {"inference-header-content-length": "0"})
    assert binary.body.endswith(struct.pack("<4f", 11, 21, 31, 41))
    typed = ask(cached, "POST", "/v1/infer", {"inputs": {"x": [row]}})
    assert typed.json["outputs"] == {"y": [[11, 21, 31, 41]]}
    answer = stub.ModelInfer(_message(row), timeout=30)
    assert struct.unpack("<4f", answer.raw_output_contents[0]) == (11, 21, 31, 41)
    (streamed,) = stub.ModelStreamInfer(iter([_message(row)]), timeout=30)
    assert struct.unpack("<4f", streamed.infer_response.raw_output_contents[0]) == (11, 21, 31, 41)
    assert counters.grown == (4, 1, 1)


def test_what_changes_the_answer_is_another_request(cached: RunningService, ask: Ask, counters: Counters) -> None:
    """Values, their sign and the shape count; what only says how long to wait does not."""
    for body in (
        _body([0, 5, 5, 5]),
        _body([-0.0, 5, 5, 5]),
        _body([0, 5, 5, 6]),
        _body([0, 5, 5, 5], [0, 5, 5, 5]),
    ):
        ask(cached, "POST", INFER, body)
    assert counters.grown == (0, 4, 5)
    ask(cached, "POST", INFER, _body([0, 5, 5, 5], parameters={"timeout": 9_000_000, "priority": 2}))
    assert counters.grown == (1, 4, 5)


def test_the_wanted_outputs_are_part_of_the_request(
    start_service: ServiceStarter, make_bundle: Callable[..., Path], ask: Ask, scrape: ScrapeOf
) -> None:
    """Another choice or order of outputs runs the model; a classification of one is made of what is remembered."""
    service = start_service(make_bundle("several-outputs", response_cache={"size": "1Mi"}))
    counters = Counters(scrape, service)
    metadata = ask(service, "GET", "/v2/models/several-outputs").json
    inputs = [
        {"name": row["name"], "datatype": row["datatype"], "shape": shape, "data": [1] * _count(shape)}
        for row in metadata["inputs"]
        for shape in [[1 if dim == -1 else dim for dim in row["shape"]]]
    ]
    first, second = (row["name"] for row in metadata["outputs"][:2])
    for wanted in ([first], [second], [first, second], [second, first]):
        answer = ask(service, "POST", CHOSEN, {"inputs": inputs, "outputs": [{"name": name} for name in wanted]})
        assert [output["name"] for output in answer.json["outputs"]] == wanted
    assert counters.grown[:2] == (0, 4)
    classified = {"name": first, "parameters": {"classification": 1}}
    answer = ask(service, "POST", CHOSEN, {"inputs": inputs, "outputs": [classified]})
    assert answer.json["outputs"][0]["datatype"] == "BYTES"
    assert counters.grown[:2] == (1, 4)


def _count(shape: list[int]) -> int:
    count = 1
    for dim in shape:
        count *= dim
    return count


def test_refused_requests_are_not_remembered(
    start_service: ServiceStarter, make_bundle_of: Callable[..., Path], ask: Ask, scrape: ScrapeOf
) -> None:
    """What the model cannot process it is asked again every time."""
    graph = GraphBuilder("table")
    index = graph.input("index", "INT64", ["batch"])
    graph.output(graph.op("Gather", graph.constant([1, 2, 3]), index, out="y"), "FP32", ["batch"])
    bundle = make_bundle_of("table", graph.model(), response_cache={"size": "1Mi"})
    service = start_service(bundle)
    counters = Counters(scrape, service)
    body = {"inputs": [{"name": "index", "datatype": "INT64", "shape": [1], "data": [1000]}]}
    answers = [ask(service, "POST", "/v2/models/table/infer", body) for _ in range(3)]
    assert [answer.status for answer in answers] == [400] * 3
    assert counters.grown[:2] == (0, 3)
    assert scrape(service).value("nim_response_cache_entries") == 0


@pytest.fixture(scope="module")
def wide_bundle(make_bundle_of: Callable[..., Path]) -> Path:
    """`x` FP32[batch, n] to `y` = x + 1, of any length."""
    graph = GraphBuilder("wide")
    x = graph.input("x", "FP32", ["batch", "n"])
    graph.output(graph.op("Add", x, graph.constant([1.0]), out="y"), "FP32", ["batch", "n"])
    return make_bundle_of("wide", graph.model(), response_cache={"size": "1Mi"})


def _ask_wide(ask: Ask, service: RunningService, values: bytes) -> bytes:
    """Send a row of FP32 as raw bytes; the answer's."""
    answer = ask(service, "POST", "/v2/models/wide/infer", values, {"inference-header-content-length": "0"})
    assert answer.status == 200, answer.body
    return answer.body[-len(values) :]


def test_the_cache_stays_within_its_size(
    start_service: ServiceStarter, wide_bundle: Path, ask: Ask, scrape: ScrapeOf
) -> None:
    """Answers that do not fit push out those unused longest, and the metrics tell."""
    service = start_service(wide_bundle)
    kept = struct.pack("<4f", 7, 7, 7, 7)
    _ask_wide(ask, service, kept)
    for number in range(12):
        _ask_wide(ask, service, struct.pack("<f", number) * 32768)  # 128 KiB
        _ask_wide(ask, service, kept)
    page = scrape(service)
    assert page.value("nim_response_cache_limit_bytes") == 1 << 20
    assert (7 << 17) < page.value("nim_response_cache_bytes") <= 1 << 20
    assert page.value("nim_response_cache_entries") == 8
    assert page.value("nim_response_cache_evictions_total") == 5
    assert page.value("nv_cache_num_hits_per_model") == 12
    counters = Counters(scrape, service)
    _ask_wide(ask, service, struct.pack("<f", 0) * 32768)
    assert counters.grown == (0, 1, 1)


def test_large_requests_and_answers_are_remembered_too(
    start_service: ServiceStarter, wide_bundle: Path, ask: Ask, scrape: ScrapeOf
) -> None:
    """What is hashed and copied beside the event loop is found again; what is larger than the cache is not kept."""
    service = start_service(wide_bundle, env={"NIMIFY_RESPONSE_CACHE": "4MiB"})
    counters = Counters(scrape, service)
    large, answer = (struct.pack("<4f", *values) * 200_000 for values in ((1, 2, 3, 4), (2, 3, 4, 5)))
    assert [_ask_wide(ask, service, large) == answer for _ in range(2)] == [True, True]
    assert counters.grown == (1, 1, 1)
    for _ in range(2):
        assert _ask_wide(ask, service, 2 * large) == 2 * answer
    assert counters.grown == (1, 3, 3)
    assert scrape(service).value("nim_response_cache_entries") == 1


def test_the_statistics_tell_hits_and_misses(cached: RunningService, ask: Ask, stub: Any) -> None:
    """Over HTTP and gRPC, as Triton names them: a hit is a success that neither waited nor was computed."""
    before = ask(cached, "GET", "/v2/models/tiny/stats").json["model_stats"][0]
    for _ in range(3):
        ask(cached, "POST", INFER, _body([3, 1, 4, 1]))
    after = ask(cached, "GET", "/v2/models/tiny/stats").json["model_stats"][0]

    def grown(name: str, part: str = "count") -> int:
        return int(after["inference_stats"][name][part]) - int(before["inference_stats"][name][part])

    assert (grown("cache_hit"), grown("cache_miss"), grown("success")) == (2, 1, 3)
    assert grown("cache_hit", "ns") > 0
    assert grown("cache_miss", "ns") > 0
    assert (grown("queue"), grown("compute_infer")) == (1, 1)
    assert int(after["inference_count"]) - int(before["inference_count"]) == 1
    row = stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name="tiny"), timeout=30).model_stats[0]
    assert row.inference_stats.cache_hit.count == int(after["inference_stats"]["cache_hit"]["count"])
    assert row.inference_stats.cache_miss.ns == int(after["inference_stats"]["cache_miss"]["ns"])


def test_own_processors_may_change_what_they_are_given(
    start_service: ServiceStarter, tmp_path: Path, make_bundle: Callable[..., Path], ask: Ask, scrape: ScrapeOf
) -> None:
    """They run every time, on values of their own: what is remembered stays what the engine gave."""
    file = tmp_path / "own.py"
    file.write_text(TENFOLD)
    bundle = make_bundle("tiny", pipeline={"after": [f"{file}:Tenfold"]}, response_cache={"size": "1Mi"})
    service = start_service(bundle)
    counters = Counters(scrape, service)
    answers = [ask(service, "POST", "/v1/infer", {"inputs": {"x": [[1, 2, 3, 4]]}}) for _ in range(3)]
    assert [answer.json["outputs"] for answer in answers] == [{"y": [[20, 30, 40, 50]]}] * 3
    assert counters.grown == (2, 1, 1)


def test_workers_share_the_size(
    start_service: ServiceStarter, make_bundle: Callable[..., Path], ask: Ask, scrape: ScrapeOf
) -> None:
    """Each has a cache of its own, and together they are as large as was asked for."""
    service = start_service(make_bundle("tiny"), "--workers", "2", "--response-cache", "2MiB")
    assert scrape(service).value("nim_response_cache_limit_bytes") == 2 << 20
    body = _body([1, 1, 1, 1])
    counters = Counters(scrape, service)
    for _ in range(10):
        assert _values(ask(service, "POST", INFER, body)) == [2, 2, 2, 2]
    hits, misses, rows = counters.grown
    assert hits + misses == 10
    assert 1 <= misses == rows <= 2


def test_nothing_is_remembered_unasked(served: Callable[..., RunningService], ask: Ask, scrape: ScrapeOf) -> None:
    """Off is the default, and then there is neither a hit nor a miss."""
    service = served("tiny")
    counters = Counters(scrape, service)
    for _ in range(2):
        ask(service, "POST", INFER, _body([2, 2, 2, 2]))
    assert counters.grown == (0, 0, 2)
    assert scrape(service).value("nim_response_cache_limit_bytes") == 0
