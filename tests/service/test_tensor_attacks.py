"""Tensors that are not what they say, in JSON and in binary: a 4xx that names the tensor, and the model goes on."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nimify.tensors import DATATYPES
from nimify.testing.graph_builder import GraphBuilder
from nimify.testing.models import identity

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Answer, Ask, AssertRefused

Served = Callable[..., "RunningService"]
Post = Callable[..., "Answer"]
Row = dict[str, Any]

MIB = 1 << 20
FOUR = np.array([1, 2, 3, 4], "<f4").tobytes()
JSON_OR_BINARY = pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])


@pytest.fixture(scope="module")
def post(ask: Ask) -> Post:
    """Send an inference request made of plain data and raw bytes."""

    def posted(
        service: RunningService,
        model: str,
        document: Mapping[str, Any],
        raw: bytes | None = None,
        timeout_s: float = 30,
    ) -> Answer:
        header = json.dumps(document).encode()
        length = {} if raw is None else {"Inference-Header-Content-Length": str(len(header))}
        return ask(service, "POST", f"/v2/models/{model}/infer", header + (raw or b""), length)

    return posted


def _row(name: str, datatype: str, shape: Any, *, data: Any = None, size: Any = None) -> Row:
    row = {"name": name, "datatype": datatype, "shape": shape}
    return {**row, "data": data} if size is None else {**row, "parameters": {"binary_data_size": size}}


def _x(shape: Any, *, binary: bool, **replaced: Any) -> tuple[Row, bytes | None]:
    row = _row("x", "FP32", shape, data=[1.0, 2.0, 3.0, 4.0], size=16 if binary else None)
    return {**row, **replaced}, FOUR if binary else None


def _assert_tiny_serves(post: Post, service: RunningService) -> None:
    row, _ = _x([1, 4], binary=False)
    answer = post(service, "tiny", {"inputs": [row]})
    assert answer.status == 200
    assert answer.json["outputs"][0]["data"] == [2.0, 3.0, 4.0, 5.0]


SHAPES = {
    "empty": [],
    "zero": [0],
    "minus-one": [-1],
    "two-negatives": [-2, -2],
    "2-and--5": [2, -5],
    "fraction": [1.5, 4],
    "text": ["1", "4"],
    "boolean": [True, 4],
    "null-dim": [None, 4],
    "nested": [[1, 4]],
    "2^31": [2**31, 4],
    "2^63": [2**63, 4],
    "2^64": [2**64, 4],
    "2^64-wraps-to-4": [4, 2**62 + 1],
    "16-by-2^60+2": [16, 2**60 + 2],
    "4-by-2^60+2": [4, 2**60 + 2],
    "2^31-1-squared": [2**31 - 1, 2**31 - 1],
    "product-wraps-to-4": [2**16, 2**16, 2**16, 2**16, 4],
    "65-dims": [1] * 64 + [4],
    "64-dims": [1] * 63 + [4],
    "100000-dims": [1] * 100_000,
    "rank-1": [4],
    "rank-3": [1, 1, 4],
    "fixed-dim": [2, 2],
    "fixed-dim-longer": [1, 5],
    "product-too-large": [2, 4],
    "batch-0": [0, 4],
    "string": "1,4",
    "number": 4,
    "object": {"0": 1, "1": 4},
    "null": None,
}


@JSON_OR_BINARY
@pytest.mark.parametrize("name", SHAPES)
def test_a_wrong_shape_is_refused(
    name: str, binary: bool, served: Served, post: Post, assert_refused: AssertRefused
) -> None:
    """All arithmetic is exact: nothing overflows into a shape that fits."""
    service = served("tiny")
    row, raw = _x(SHAPES[name], binary=binary)
    assert_refused(post(service, "tiny", {"inputs": [row]}, raw), {400}, v2=True)
    _assert_tiny_serves(post, service)


@JSON_OR_BINARY
@pytest.mark.parametrize("rows", [0, 33, 10_000])
def test_a_batch_that_is_empty_or_too_large_is_refused(
    rows: int, binary: bool, served: Served, post: Post, assert_refused: AssertRefused
) -> None:
    """Although its data is all there."""
    service = served("tiny", batching={"max_batch_size": 32})
    row = _row("x", "FP32", [rows, 4], data=[1.0] * (rows * 4), size=rows * 16 if binary else None)
    assert_refused(post(service, "tiny", {"inputs": [row]}, bytes(rows * 16) if binary else None), {400}, v2=True)
    full = _row("x", "FP32", [32, 4], data=[1.0] * 128)
    assert post(service, "tiny", {"inputs": [full]}).status == 200


def _inputs(*rows: Row) -> dict[str, Any]:
    return {"inputs": list(rows)}


GOOD, _ = _x([1, 4], binary=False)
INPUTS = {
    "none": {},
    "null": {"inputs": None},
    "empty": {"inputs": []},
    "object": {"inputs": {"x": [[1, 2, 3, 4]]}},
    "text": {"inputs": "x"},
    "null-entry": {"inputs": [None]},
    "list-entry": {"inputs": [[1, 2, 3, 4]]},
    "empty-entry": {"inputs": [{}]},
    "twice": _inputs(GOOD, GOOD),
    "unknown": _inputs({**GOOD, "name": "z"}),
    "one-too-many": _inputs(GOOD, {**GOOD, "name": "z"}),
    "without-a-name": _inputs({key: value for key, value in GOOD.items() if key != "name"}),
    "name-empty": _inputs({**GOOD, "name": ""}),
    "name-number": _inputs({**GOOD, "name": 1}),
    "name-1-mib": _inputs({**GOOD, "name": "n" * MIB}),
    "name-not-ascii": _inputs({**GOOD, "name": "\u0445"}),
    "name-with-controls": _inputs({**GOOD, "name": "x\r\n\x1b[31m\u202e"}),
    "name-with-nul": _inputs({**GOOD, "name": "x\x00"}),
    "name-proto": _inputs({**GOOD, "name": "__proto__"}),
    "1025-tensors": _inputs(*({**GOOD, "name": f"x{i}"} for i in range(1025))),
    "100000-tensors": _inputs(*({"name": f"x{i}"} for i in range(100_000))),
    "without-datatype": _inputs({key: value for key, value in GOOD.items() if key != "datatype"}),
    **{
        f"datatype-{name!r}": _inputs({**GOOD, "datatype": name})
        for name in ("fp32", "FP32 ", "FLOAT", "TYPE_FP32", "", None, 1, ["FP32"], "INT32", "FP64", "FP16", "BYTES")
    },
    "without-shape": _inputs({key: value for key, value in GOOD.items() if key != "shape"}),
    "without-data": _inputs({key: value for key, value in GOOD.items() if key != "data"}),
    "too-few-elements": _inputs({**GOOD, "data": [1, 2, 3]}),
    "too-many-elements": _inputs({**GOOD, "data": [1, 2, 3, 4, 5]}),
    "parameters-list": _inputs({**GOOD, "parameters": []}),
    "shared-memory-and-data": _inputs({**GOOD, "parameters": {"shared_memory_region": "r"}}),
    "shared-memory": _inputs(
        {**_row("x", "FP32", [1, 4]), "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 16}}
    ),
}


@pytest.mark.parametrize("name", INPUTS)
def test_wrong_inputs_are_refused(name: str, served: Served, post: Post, assert_refused: AssertRefused) -> None:
    """Missing, unknown, doubled, unnamed or of another datatype."""
    service = served("tiny")
    assert_refused(post(service, "tiny", INPUTS[name]), {400}, v2=True)
    _assert_tiny_serves(post, service)


@pytest.mark.parametrize("change", ["missing", "twice", "other-length", "other-rank", "other-batch", "other-type"])
def test_several_inputs_must_all_be_there_and_agree(
    change: str, served: Served, post: Post, assert_refused: AssertRefused
) -> None:
    """Wherever the disagreement is found, in the contract or in the model, it is the client's mistake."""
    service = served("text")
    ids = _row("input_ids", "INT64", [1, 3], data=[1, 2, 3])
    mask = _row("attention_mask", "INT64", [1, 3], data=[1, 1, 1])
    wrong = {
        "missing": [ids],
        "twice": [ids, ids],
        "other-length": [ids, {**mask, "shape": [1, 2], "data": [1, 1]}],
        "other-rank": [ids, {**mask, "shape": [3]}],
        "other-batch": [ids, {**mask, "shape": [3, 1]}],
        "other-type": [ids, {**mask, "datatype": "INT32"}],
    }
    assert_refused(post(service, "text", {"inputs": wrong[change]}), {400}, v2=True)
    assert post(service, "text", {"inputs": [mask, ids]}).status == 200


V1_BODIES = {
    "inputs-missing": {},
    "inputs-null": {"inputs": None},
    "inputs-empty": {"inputs": {}},
    "inputs-list": {"inputs": [{"name": "x", "data": [[1, 2, 3, 4]]}]},
    "unknown-input": {"inputs": {"z": [[1, 2, 3, 4]]}},
    "one-too-many": {"inputs": {"x": [[1, 2, 3, 4]], "z": [[1, 2, 3, 4]]}},
    "name-1-mib": {"inputs": {"x": [[1, 2, 3, 4]], "n" * MIB: 1}},
    "name-with-controls": {"inputs": {"x\r\n\x1b[31m": [[1, 2, 3, 4]]}},
    "no-row": {"inputs": {"x": []}},
    "empty-rows": {"inputs": {"x": [[], []]}},
    "too-many-rows": {"inputs": {"x": [[1, 2, 3, 4]] * 10_000}},
    "flat": {"inputs": {"x": [1, 2, 3, 4]}},
    "output-unknown": {"inputs": {"x": [[1, 2, 3, 4]]}, "outputs": ["z"]},
    "output-twice": {"inputs": {"x": [[1, 2, 3, 4]]}, "outputs": ["y", "y"]},
    "outputs-million": {"inputs": {"x": [[1, 2, 3, 4]]}, "outputs": ["y"] * 1_000_000},
    "outputs-none": {"inputs": {"x": [[1, 2, 3, 4]]}, "outputs": ["y", None]},
}


@pytest.mark.parametrize("name", V1_BODIES)
def test_wrong_tensors_are_refused_by_the_typed_api(
    name: str, served: Served, ask: Ask, post: Post, assert_refused: AssertRefused
) -> None:
    """What `/v2` refuses, `/v1/infer` refuses in its own envelope."""
    service = served("tiny")
    assert_refused(ask(service, "POST", "/v1/infer", V1_BODIES[name]), {400}, v2=False)
    _assert_tiny_serves(post, service)


BINARY = {
    "size-negative": (-1, FOUR),
    "size-over-the-body": (17, FOUR),
    "size-2^63": (2**63, FOUR),
    "size-2^64": (2**64, FOUR),
    "size-fraction": (16.0, FOUR),
    "size-text": ("16", FOUR),
    "size-true": (True, b"\x00"),
    "size-list": ([16], FOUR),
    "size-short": (12, FOUR),
    "size-odd": (15, FOUR),
    "size-zero": (0, FOUR),
    "nothing-behind": (16, b""),
    "one-byte-missing": (16, FOUR[:-1]),
    "one-byte-more": (16, FOUR + b"\x00"),
    "twice-as-much": (32, FOUR * 2),
}


@pytest.mark.parametrize("name", BINARY)
def test_a_wrong_binary_size_is_refused(name: str, served: Served, post: Post, assert_refused: AssertRefused) -> None:
    """What the tensors say together must be what is there."""
    size, raw = BINARY[name]
    service = served("tiny")
    assert_refused(post(service, "tiny", _inputs(_row("x", "FP32", [1, 4], size=size)), raw), {400}, v2=True)
    _assert_tiny_serves(post, service)


def test_data_in_both_forms_is_refused(served: Served, post: Post, assert_refused: AssertRefused) -> None:
    """Which one counts would be a guess; and bytes that no tensor claims are a mistake."""
    service = served("tiny")
    both = {**GOOD, "parameters": {"binary_data_size": 16}}
    assert_refused(post(service, "tiny", _inputs(both), FOUR), {400})
    assert_refused(post(service, "tiny", _inputs(GOOD), FOUR), {400})
    _assert_tiny_serves(post, service)


OUTPUTS: dict[str, Any] = {
    "unknown": [{"name": "z"}],
    "twice": [{"name": "y"}, {"name": "y"}],
    "without-a-name": [{}],
    "name-null": [{"name": None}],
    "name-1-mib": [{"name": "y" * MIB}],
    "million": [{"name": "y"}] * 1_000_000,
    "classification-negative": [{"name": "y", "parameters": {"classification": -1}}],
    "classification-fraction": [{"name": "y", "parameters": {"classification": 1.5}}],
    "classification-text": [{"name": "y", "parameters": {"classification": "1"}}],
    "classification-true": [{"name": "y", "parameters": {"classification": True}}],
    "classification-2^64": [{"name": "y", "parameters": {"classification": 2**64}}],
    "binary-data-text": [{"name": "y", "parameters": {"binary_data": "true"}}],
    "binary-data-number": [{"name": "y", "parameters": {"binary_data": 1}}],
    "parameters-list": [{"name": "y", "parameters": [1]}],
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_wrong_outputs_are_refused(name: str, served: Served, post: Post, assert_refused: AssertRefused) -> None:
    """Unknown, doubled, or asked for in a form that there is not."""
    service = served("tiny")
    assert_refused(post(service, "tiny", {"inputs": [GOOD], "outputs": OUTPUTS[name]}), {400}, v2=True)
    _assert_tiny_serves(post, service)


def test_classification_is_cut_at_the_size_and_refused_for_text(
    served: Served, post: Post, assert_refused: AssertRefused
) -> None:
    """More classes than there are give all of them; words have no order."""
    outputs = [{"name": "y", "parameters": {"classification": 2**31 - 1}}]
    answer = post(served("tiny"), "tiny", {"inputs": [GOOD], "outputs": outputs})
    assert answer.json["outputs"][0] == {
        "name": "y",
        "datatype": "BYTES",
        "shape": [1, 4],
        "data": ["5.000000:3", "4.000000:2", "3.000000:1", "2.000000:0"],
    }
    words = {
        "inputs": [_row("word", "BYTES", [1, 1], data=["beta"])],
        "outputs": [{"name": "echo", "parameters": {"classification": 1}}],
    }
    assert_refused(post(served("strings"), "strings", words), {400}, v2=True)


def _item(text: bytes) -> bytes:
    return struct.pack("<I", len(text)) + text


TEXTS = {
    "prefix-4-gib": ([1, 1], b"\xff\xff\xff\xff"),
    "prefix-4-gib-with-content": ([1, 1], b"\xff\xff\xff\xffbeta"),
    "prefix-cut": ([1, 1], b"\x04\x00"),
    "content-cut": ([1, 1], b"\x05\x00\x00\x00beta"),
    "nothing": ([1, 1], b""),
    "one-element-more": ([1, 1], _item(b"a") * 2),
    "one-element-less": ([2, 1], _item(b"a")),
    "trailing-byte": ([1, 1], _item(b"a") + b"\x00"),
    "not-utf-8": ([1, 1], _item(b"\xff\xfe")),
    "surrogate": ([1, 1], _item(b"\xed\xa0\x80")),
    "a-million-empty": ([1_000_000, 1], _item(b"") * 1_000_000),
    "a-million-said": ([1_000_000, 1], _item(b"")),
    "2^31-1-said": ([2**31 - 1, 1], _item(b"")),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_with_lying_lengths_is_refused(
    name: str, served: Served, post: Post, assert_refused: AssertRefused
) -> None:
    """Nothing is read, or made room for, beyond what is there."""
    shape, raw = TEXTS[name]
    service = served("strings")
    answer = post(service, "strings", _inputs(_row("word", "BYTES", shape, size=len(raw))), raw)
    assert_refused(answer, {400}, v2=True)
    good = _item("beta\x00é".encode())
    document = {**_inputs(_row("word", "BYTES", [1, 1], size=len(good))), "parameters": {"binary_data_output": True}}
    answer = post(service, "strings", document, good)
    assert answer.status == 200
    assert answer.body.endswith(good)


@pytest.fixture(scope="module")
def identity_service(
    start_service: Callable[..., RunningService], make_bundle_of: Callable[..., Path]
) -> Callable[[str], RunningService]:
    """A service that gives back what it takes, of any datatype; started once for each."""
    running: dict[str, RunningService] = {}

    def service(datatype: str) -> RunningService:
        if datatype not in running:
            name = f"identity-{datatype.lower()}"
            running[datatype] = start_service(make_bundle_of(name, identity(datatype, ("batch", "n"))))
        return running[datatype]

    return service


PATTERNS = {
    "BOOL": bytes([0, 1, 1, 0]),
    "UINT8": bytes(range(256)),
    "INT8": bytes(range(256)),
    "UINT64": struct.pack("<4Q", 0, 1, 2**63, 2**64 - 1),
    "INT64": struct.pack("<4q", 0, -1, -(2**63), 2**63 - 1),
    "FP16": np.arange(65536, dtype="<u2").tobytes(),
    "BF16": np.arange(65536, dtype="<u2").tobytes(),
    "FP32": struct.pack("<8I", 0x80000000, 1, 0x807FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F7FFFFF, 0xFFC12345),
    "FP64": struct.pack("<4Q", 0x8000000000000000, 1, 0x7FF0000000000000, 0x7FF8000000000001),
}


@pytest.mark.parametrize("datatype", PATTERNS)
def test_every_bit_pattern_passes_through_in_binary(
    datatype: str, identity_service: Callable[[str], RunningService], post: Post
) -> None:
    """Negative zero, denormals, infinities and not-a-numbers with their payload; at any alignment."""
    raw = PATTERNS[datatype]
    count = len(raw) // DATATYPES[datatype].itemsize
    for padding in range(4):
        document = {
            "id": "i" * padding,
            **_inputs(_row("x", datatype, [1, count], size=len(raw))),
            "parameters": {"binary_data_output": True},
        }
        answer = post(identity_service(datatype), f"identity-{datatype.lower()}", document, raw)
        assert answer.status == 200, answer.body[:300]
        assert answer.body[int(answer.headers["inference-header-content-length"]) :] == raw


BOUNDARIES: dict[str, tuple[list[Any], list[Any]]] = {
    "BOOL": ([True, False], [0, 1, "true", None]),
    "UINT8": ([0, 255], [-1, 256]),
    "INT8": ([-128, 127], [-129, 128]),
    "UINT64": ([0, 2**64 - 1], [-1, 2**64]),
    "INT64": ([-(2**63), 2**63 - 1], [-(2**63) - 1, 2**63, 2**64]),
    "FP16": ([65504, -65504, 6e-8, 65519.0], [65520, -65520, 1e39]),
    "BF16": ([3.3895e38, -3.3895e38, 1e-40], [3.4e38, -3.4e38, 3.5e38]),
    "FP32": ([3.4028234e38, 1e-45], [3.5e38, -3.5e38]),
    "FP64": ([1.7976931348623157e308, 5e-324], []),
}


@pytest.mark.parametrize("datatype", BOUNDARIES)
def test_json_numbers_are_taken_up_to_the_datatypes_bounds(
    datatype: str, identity_service: Callable[[str], RunningService], post: Post, assert_refused: AssertRefused
) -> None:
    """The largest that fits is taken, and what does not fit never wraps or becomes infinite."""
    taken, refused = BOUNDARIES[datatype]
    service, name = identity_service(datatype), f"identity-{datatype.lower()}"
    for value in refused:
        answer = post(service, name, _inputs(_row("x", datatype, [1, 1], data=[value])))
        assert_refused(answer, {400}, v2=True)
    for value in taken:
        answer = post(service, name, _inputs(_row("x", datatype, [1, 1], data=[value])))
        assert answer.status == 200, (value, answer.body)
        (given_back,) = answer.json["outputs"][0]["data"]
        exact = not datatype.startswith(("FP16", "BF16", "FP32"))
        assert given_back == (value if exact else pytest.approx(value, rel=0.01, abs=1e-39))


def test_a_boolean_byte_of_two_is_refused(
    identity_service: Callable[[str], RunningService], post: Post, assert_refused: AssertRefused
) -> None:
    """A bool that is neither true nor false would poison whatever compares it."""
    service = identity_service("BOOL")
    for raw in (b"\x02", b"\xff"):
        document = _inputs(_row("x", "BOOL", [1, 1], size=1))
        assert_refused(post(service, "identity-bool", document, raw), {400}, v2=True)


@JSON_OR_BINARY
def test_a_tensor_without_elements_passes_through(
    binary: bool, identity_service: Callable[[str], RunningService], post: Post
) -> None:
    """A free axis may have length 0."""
    row = _row("x", "FP32", [2, 0], data=[], size=0 if binary else None)
    document = {**_inputs(row), "parameters": {"binary_data_output": binary}}
    answer = post(identity_service("FP32"), "identity-fp32", document, b"" if binary else None)
    assert answer.status == 200, answer.body
    assert answer.json["outputs"][0]["shape"] == [2, 0]


def test_infinite_and_undefined_results_are_null_in_json(
    identity_service: Callable[[str], RunningService], post: Post
) -> None:
    """JSON has no word for them; the binary form carries them whole."""
    raw = np.array([np.nan, np.inf, -np.inf, 1], "<f4").tobytes()
    answer = post(identity_service("FP32"), "identity-fp32", _inputs(_row("x", "FP32", [1, 4], size=16)), raw)
    assert answer.json["outputs"][0]["data"] == [None, None, None, 1.0]


@pytest.fixture(scope="module")
def filled_service(start_service: Callable[..., RunningService], make_bundle_of: Callable[..., Path]) -> RunningService:
    """A model whose output is as long as its input says."""
    graph = GraphBuilder("filled")
    length = graph.input("length", "INT64", [1])
    graph.output(graph.op("ConstantOfShape", length, out="y"), "FP32", ["n"])
    return start_service(make_bundle_of("filled", graph.model()))


@pytest.mark.parametrize("length", [-1, 10**12, 2**62, 2**63 - 1, -(2**63)])
def test_a_result_that_no_memory_holds_is_refused(
    length: int,
    filled_service: RunningService,
    post: Post,
    assert_refused: AssertRefused,
    resident_bytes: Callable[[int], int],
) -> None:
    """The request fails alone: the worker lives, and its memory is as before."""
    pid = filled_service.process.pid
    assert post(filled_service, "filled", _inputs(_row("length", "INT64", [1], data=[3]))).status == 200
    before = resident_bytes(pid)
    answer = post(filled_service, "filled", _inputs(_row("length", "INT64", [1], data=[length])))
    assert_refused(answer, {400}, v2=True)
    assert resident_bytes(pid) - before < 32 * MIB
    answer = post(filled_service, "filled", _inputs(_row("length", "INT64", [1], data=[3])))
    assert answer.json["outputs"][0]["data"] == [0.0, 0.0, 0.0]
    assert filled_service.process.poll() is None


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_half_precision_raw_data_must_have_two_bytes_an_element(
    kind: str, served: Served, post: Post, assert_refused: AssertRefused
) -> None:
    """Neither an odd length nor four bytes an element will do."""
    service = served(kind)
    for size in (15, 17, 32, 0):
        document = _inputs(_row("x", kind.upper(), [1, 8], size=size))
        assert_refused(post(service, kind, document, bytes(size)), {400}, v2=True)
    assert post(service, kind, _inputs(_row("x", kind.upper(), [1, 8], size=16)), bytes(16)).status == 200


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda values: st.lists(values, max_size=5) | st.dictionaries(st.text(max_size=8), values, max_size=3),
    max_leaves=8,
)
NUMBERS = st.lists(st.floats(-1e6, 1e6, width=32) | st.integers(-100, 100), min_size=1, max_size=8)
ROWS = st.fixed_dictionaries(
    {
        "name": st.just("x") | JSON_VALUES,
        "datatype": st.just("FP32") | st.sampled_from(sorted(DATATYPES)) | JSON_VALUES,
        "shape": st.just([1, 4]) | st.lists(st.integers(-2, 5), max_size=4) | JSON_VALUES,
        "data": NUMBERS | JSON_VALUES,
    },
    optional={"parameters": JSON_VALUES},
)


DOCUMENTS: st.SearchStrategy[Any] = st.lists(ROWS, max_size=2) | JSON_VALUES


@settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(rows=DOCUMENTS, outputs=st.none() | JSON_VALUES, parameters=JSON_VALUES)
def test_a_request_made_of_anything_is_answered_or_refused(
    served: Served, post: Post, assert_refused: AssertRefused, rows: Any, outputs: Any, parameters: Any
) -> None:
    """When it is answered, it was a right request and the answer is right."""
    document = {"inputs": rows, "outputs": outputs, "parameters": parameters}
    answer = post(served("tiny"), "tiny", document)
    if answer.status != 200:
        assert answer.status == 400
        return
    (row,) = rows
    expected = np.array(_flat(row["data"]), "<f4") + np.float32(1)
    if isinstance(outputs, Sequence) and outputs:
        return
    assert answer.json["outputs"][0]["data"] == expected.tolist()


def _flat(data: list[Any]) -> list[Any]:
    return [element for row in data for element in (row if isinstance(row, list) else [row])]
