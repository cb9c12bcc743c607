"""gzip and deflate both ways: answers are the same as without, and no body unfolds beyond the limit."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tritonclient.http as triton

from nimify.testing.graph_builder import GraphBuilder

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Answer, Ask, AssertRefused

Served = Callable[..., "RunningService"]
MIB = 1 << 20
PATH = "/v2/models/tiny/infer"
BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}'
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
}


def unpacked(answer: Answer) -> bytes:
    encoding = answer.headers.get("content-encoding")
    if encoding is None:
        return answer.body
    return gzip.decompress(answer.body) if encoding == "gzip" else zlib.decompress(answer.body)


@pytest.fixture(scope="module")
def wide(start_service: Callable[..., RunningService], make_bundle_of: Callable[..., Path]) -> RunningService:
    """`x` FP32[batch, n] to `y` = 2 x, for bodies of any size up to 8 MiB."""
    graph = GraphBuilder("wide")
    x = graph.input("x", "FP32", ["batch", "n"])
    graph.output(graph.op("Add", x, x, out="y"), "FP32", ["batch", "n"])
    bundle = make_bundle_of("wide", graph.model(), limits={"max_body_bytes": 8 * MIB})
    return start_service(bundle)


def body_of(values: list[float]) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, len(values)], "data": values}
    return json.dumps({"inputs": [tensor]}).encode()


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("size", [4, 100_000])
def test_a_packed_body_is_answered_like_a_plain_one(encoding: str, size: int, wide: RunningService, ask: Ask) -> None:
    """Whatever the length, and whether the body is unpacked in one piece or many."""
    body = body_of([float(number) for number in range(size)])
    packed = ask(wide, "POST", "/v2/models/wide/infer", PACKERS[encoding](body), {"Content-Encoding": encoding})
    plain = ask(wide, "POST", "/v2/models/wide/infer", body)
    assert (packed.status, packed.body) == (plain.status, plain.body)
    assert plain.status == 200


@pytest.mark.parametrize("accepted", ["gzip", "deflate", "deflate, gzip;q=0", "br, gzip;q=0.5", "identity", "gzip;q=0"])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("size", [8, 5_000, 200_000])
def test_a_large_answer_is_packed_as_asked(
    accepted: str, binary: bool, size: int, wide: RunningService, ask: Ask
) -> None:
    """JSON and raw tensors; a short answer, and one that nobody asks to be packed, comes as it is."""
    document = json.loads(body_of([1.0] * size))
    document["parameters"] = {"binary_data_output": binary}
    plain = ask(wide, "POST", "/v2/models/wide/infer", document)
    answer = ask(wide, "POST", "/v2/models/wide/infer", document, {"Accept-Encoding": accepted})
    assert unpacked(answer) == plain.body
    expected = None if len(plain.body) < 4096 else {"g": "gzip", "d": "deflate", "b": "gzip", "i": None}[accepted[0]]
    if accepted == "gzip;q=0":
        expected = None
    assert answer.headers.get("content-encoding") == expected
    assert "content-encoding" not in plain.headers
    if expected:
        assert answer.headers["vary"] == "accept-encoding"
        assert len(answer.body) < len(plain.body)
    header = "inference-header-content-length"
    assert answer.headers.get(header) == plain.headers.get(header)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_tritonclient_packs_both_ways(algorithm: str, wide: RunningService) -> None:
    """Its own options, with raw tensors."""
    values = np.arange(50_000, dtype=np.float32).reshape(1, -1)
    tensor = triton.InferInput("x", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values, binary_data=True)
    with triton.InferenceServerClient(wide.url.removeprefix("http://")) as client:
        result = client.infer(
            "wide", [tensor], request_compression_algorithm=algorithm, response_compression_algorithm=algorithm
        )
    np.testing.assert_array_equal(result.as_numpy("y"), values * 2)


def test_the_typed_api_takes_packed_bodies(served: Served, ask: Ask) -> None:
    """Unpacking happens before any route sees the body."""
    body = gzip.compress(b'{"inputs":{"x":[[1,2,3,4]]}}')
    assert ask(served("tiny"), "POST", "/v1/infer", body, {"Content-Encoding": "gzip"}).status == 200


def test_several_members_are_one_body(served: Served, ask: Ask) -> None:
    """As gzip has it: they are put together."""
    body = gzip.compress(BODY[:20]) + gzip.compress(BODY[20:])
    assert ask(served("tiny"), "POST", PATH, body, {"Content-Encoding": "gzip"}).status == 200


BROKEN: dict[str, tuple[bytes, str]] = {
    "no-gzip": (BODY, "gzip"),
    "magic-only": (b"\x1f\x8b", "gzip"),
    "cut-short": (gzip.compress(BODY)[:-9], "gzip"),
    "wrong-checksum": (gzip.compress(BODY)[:-8] + bytes(8), "gzip"),
    "wrong-length": (gzip.compress(BODY)[:-4] + b"\xff\xff\xff\xff", "gzip"),
    "flipped": (gzip.compress(BODY)[:15] + b"\xff" + gzip.compress(BODY)[16:], "gzip"),
    "trailing": (gzip.compress(BODY) + b"x", "gzip"),
    "too-many-members": (gzip.compress(BODY) + gzip.compress(b"") * 20, "gzip"),
    "raw-deflate": (zlib.compress(BODY)[2:-4], "deflate"),
    "deflate-twice": (zlib.compress(BODY) * 2, "deflate"),
    "gzip-as-deflate": (gzip.compress(BODY), "deflate"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_body_is_refused(name: str, served: Served, ask: Ask, assert_refused: AssertRefused) -> None:
    """400, and the service goes on."""
    body, encoding = BROKEN[name]
    assert_refused(ask(served("tiny"), "POST", PATH, body, {"Content-Encoding": encoding}), {400}, v2=True)
    assert ask(served("tiny"), "POST", PATH, BODY).status == 200


def test_a_bomb_is_refused_when_it_passes_the_limit(
    served: Served, ask: Ask, assert_refused: AssertRefused, resident_bytes: Callable[[int], int]
) -> None:
    """413 however far it would unfold; memory does not grow with it."""
    service = served("tiny", "--max-body-size", "4MiB")
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join([*(packer.compress(bytes(MIB)) for _ in range(400)), packer.flush()])
    assert len(bomb) < 4 * MIB
    before = resident_bytes(service.process.pid)
    for path in (PATH, "/v1/infer") * 5:
        assert_refused(ask(service, "POST", path, bomb, {"Content-Encoding": "gzip"}), {413})
    assert resident_bytes(service.process.pid) - before < 32 * MIB
    assert ask(service, "POST", PATH, BODY).status == 200


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "identity, gzip", "garbage", ""])
def test_another_encoding_is_refused_by_name(
    encoding: str, served: Served, ask: Ask, assert_refused: AssertRefused
) -> None:
    """415 says which two there are."""
    answer = assert_refused(ask(served("tiny"), "POST", PATH, BODY, {"Content-Encoding": encoding}), {415}, v2=True)
    assert "gzip and deflate" in answer.json["error"]


def test_what_is_told_about_a_model_is_never_packed(
    start_service: Callable[..., RunningService], make_bundle_of: Callable[..., Path], ask: Ask
) -> None:
    """Triton's asyncio client says that it takes gzip, and then does not unpack it."""
    graph = GraphBuilder("many")
    for number in range(60):
        graph.output(graph.op("Identity", graph.input(f"x{number}", "FP32", ["n"]), out=f"y{number}"), "FP32", ["n"])
    service = start_service(make_bundle_of("many", graph.model()))
    for path in ("/v2/models/many", "/v2/models/many/config"):
        answer = ask(service, "GET", path, headers={"Accept-Encoding": "gzip, deflate"})
        assert len(answer.body) > 4096
        assert "content-encoding" not in answer.headers
        assert answer.json["name"] == "many"


def test_pages_and_lists_are_packed_too(served: Served, ask: Ask) -> None:
    """What is long enough, whatever the route."""
    document: Any = ask(served("tiny"), "GET", "/openapi.json").json
    answer = ask(served("tiny"), "GET", "/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert json.loads(unpacked(answer)) == document
