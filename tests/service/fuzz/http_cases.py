"""HTTP/1.1: requests with odd targets, headers and framing; documents; and tensors behind them."""

from __future__ import annotations

from typing import Any, Final

import orjson
from hypothesis import strategies as st
from tests.service.fuzz.campaign import Case
from tests.service.fuzz.mutation import damaged, in_pieces

from nimify.tensors import DATATYPES

_DOCUMENT: Final = orjson.dumps({"inputs": {"x": [[1, 2, 3]], "words": [["a"]]}})
_TARGETS: Final = [
    b"/v1/infer",
    b"/v2/models/fuzzed/infer",
    b"/v2/models/fuzzed/versions/1/infer",
    b"/v2",
    b"/v1/health/ready",
    b"/v1/metrics",
    b"/docs",
    b"/openapi.json",
    b"*",
    b"http://a/v2",
    b"//v2",
    b"/v2/../v2",
    b"/%2e%2e/etc",
    b"/v2?" + b"a" * 9000,
]
_METHODS: Final = [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"CONNECT", b"TRACE", b"PRI", b"get", b""]
_HEADERS: Final = [
    b"Content-Length: %d" % len(_DOCUMENT),
    b"Content-Length: 0",
    b"Content-Length: -1",
    b"Content-Length: 18446744073709551616",
    b"Content-Length: 99999999",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: identity",
    b"Content-Encoding: gzip",
    b"Content-Encoding: deflate",
    b"Content-Type: application/json; charset=utf-16",
    b"Inference-Header-Content-Length: 0",
    b"Inference-Header-Content-Length: 99999999999",
    b"Inference-Header-Content-Length: -1",
    b"Expect: 100-continue",
    b"Expect: junk",
    b"Connection: close",
    b"Connection: keep-alive, upgrade",
    b"Upgrade: h2c",
    b"Accept-Encoding: gzip, deflate;q=0, *",
    b"Origin: null",
    b"X-Request-Id: " + b"a" * 200,
    b"Range: bytes=0-,0-,0-",
    b"X: a\r\n b",
    b"X : a",
    b": a",
    b"X: " + b"a" * 70_000,
]
_WORDS: Final = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b"\x80", b"\xff\xfe", b"HTTP/1.0", b"HTTP/2",
    b"0\r\n\r\n", b"5;a=b\r\nhello\r\n", b"ffffffffffffffff\r\n", b"-1\r\n", b"Host: b\r\n",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n", b"a" * 9000,
]  # fmt: skip
_JSON_WORDS: Final = [
    b"[", b"]", b"{", b"}", b'"', b",", b":", b"null", b"NaN", b"-Infinity", b"1e999", b"-0", b"1" * 5000, b"\\u0000",
    b"\\ud800", b"\xff", b"\xef\xbb\xbf", b"[" * 2000, b'"inputs":', b'"shape":', b"true", b"0.1", b"//", b"\0",
]  # fmt: skip


def post(target: bytes, headers: list[bytes], body: bytes) -> bytes:
    """A well-framed request."""
    lines = [b"POST " + target + b" HTTP/1.1", b"Host: a", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _in_chunks(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])


_A_FEW = st.integers(1, 3)
_A_METHOD = st.sampled_from(_METHODS)
_A_TARGET = st.sampled_from(_TARGETS)
_A_VERSION = st.sampled_from((b"1.1", b"1.1", b"1.1", b"1.0", b"2.0"))
_SOME_HEADERS = st.lists(st.sampled_from(_HEADERS), max_size=4)
_A_BODY = st.sampled_from((b"", _DOCUMENT, _in_chunks(_DOCUMENT, 7), b"\x1f\x8b" + _DOCUMENT))


@st.composite
def framing(draw: st.DrawFn) -> Case:
    """A few requests one behind the other, put together of odd parts, and damaged."""
    requests = []
    for _ in range(draw(_A_FEW)):
        line = b"%s %s HTTP/%s" % (draw(_A_METHOD), draw(_A_TARGET), draw(_A_VERSION))
        requests.append(b"\r\n".join([line, b"Host: a", *draw(_SOME_HEADERS)]) + b"\r\n\r\n" + draw(_A_BODY))
    return draw(in_pieces("framing", draw(damaged(b"".join(requests), _WORDS))))


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda values: st.lists(values, max_size=5) | st.dictionaries(st.text(max_size=8), values, max_size=3),
    max_leaves=8,
)
_NAMES = st.sampled_from(("x", "words", "y", "", "x\n"))
_SHAPES = st.sampled_from(([1, 3], [1, 1], [0, 3], [2, -1], [2**62, 4], [1] * 70, [True], ["1"])) | _VALUES
_DATATYPES = st.sampled_from((*DATATYPES, "fp32", "FLOAT")) | _VALUES
_PARAMETERS = st.dictionaries(
    st.sampled_from(
        ("binary_data_size", "binary_data", "binary_data_output", "classification", "timeout", "priority", "triton_x")
    ),
    st.sampled_from((0, 1, -1, 8, 12, 2**40, True, "1")) | _VALUES,
    max_size=3,
)
_ROWS = st.fixed_dictionaries(
    {"name": _NAMES, "datatype": _DATATYPES, "shape": _SHAPES},
    optional={"data": st.just([1, 2, 3]) | st.just(["a"]) | _VALUES, "parameters": _PARAMETERS | _VALUES},
)
_GOOD_ROWS: Final = [
    {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]},
    {"name": "words", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]},
]
_TENSOR_DOCUMENTS = st.fixed_dictionaries(
    {"inputs": st.just(_GOOD_ROWS) | st.lists(_ROWS | st.sampled_from(_GOOD_ROWS), max_size=3) | _VALUES},
    optional={
        "id": st.text(max_size=5) | _VALUES,
        "outputs": st.lists(st.fixed_dictionaries({"name": _NAMES}, optional={"parameters": _PARAMETERS})) | _VALUES,
        "parameters": _PARAMETERS | _VALUES,
    },
)
_TYPED_INPUTS = st.fixed_dictionaries({"x": st.just([[1, 2]]) | _VALUES, "words": st.just([["a"]]) | _VALUES})
_TYPED_DOCUMENTS = st.fixed_dictionaries(
    {
        "inputs": st.fixed_dictionaries({"x": st.just([[1, 2]]) | _VALUES, "words": st.just([["a"]]) | _VALUES})
        | _VALUES
    },
    optional={"outputs": _VALUES, "id": _VALUES},
)


def _dumped(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)


_EITHER = st.tuples(st.just(b"/v1/infer"), _TYPED_DOCUMENTS) | st.tuples(
    st.just(b"/v2/models/fuzzed/infer"), _TENSOR_DOCUMENTS
)


@st.composite
def documents(draw: st.DrawFn) -> Case:
    """A well-framed request with a document that is nearly one, of either API."""
    target, document = draw(_EITHER)
    text = draw(damaged(_dumped(document), _JSON_WORDS, most=2))
    return Case("documents", (post(target, [b"Connection: close"], text),))


_RAW_ROWS: Final = [
    {"name": "x", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}},
    {"name": "words", "datatype": "BYTES", "shape": [1, 2], "parameters": {"binary_data_size": 13}},
]
RAW_X: Final = b"\0\0\x80?" * 3
RAW_WORDS: Final = b"\5\0\0\0hello\0\0\0\0"
RAW_DAMAGES: Final = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\x80\x7f", b"\0\0\xc0\x7f", b"\xff" * 8, b"\0" * 100]


_SOME_ROWS = st.just(_RAW_ROWS) | st.lists(_ROWS | st.sampled_from(_RAW_ROWS), max_size=3)
_SOME_PARAMETERS = st.just({"binary_data_output": True}) | _PARAMETERS
_ERRORS = st.sampled_from((0, 0, 0, 0, -1, 1, -(2**31), 2**31))


@st.composite
def tensors(draw: st.DrawFn) -> Case:
    """A well-framed request in the binary form: sizes, shapes and bytes that do not quite agree."""
    head = _dumped({"inputs": draw(_SOME_ROWS), "parameters": draw(_SOME_PARAMETERS)})
    length = len(head) + draw(_ERRORS)
    body = head + draw(damaged(RAW_X + RAW_WORDS, RAW_DAMAGES, most=2))
    headers = [b"Inference-Header-Content-Length: %d" % length, b"Connection: close"]
    return Case("tensors", (post(b"/v2/models/fuzzed/infer", headers, body),))
