"""gRPC over HTTP/2: frames in odd orders, header blocks that are damaged, and messages that are nearly protobuf."""

from __future__ import annotations

import gzip
import struct
from random import Random
from typing import Final

import hpack
from hypothesis import strategies as st
from tests.service.fuzz.campaign import Case
from tests.service.fuzz.http_cases import RAW_DAMAGES, RAW_WORDS, RAW_X
from tests.service.fuzz.mutation import damaged, in_pieces
from tests.service.http2_peer import PREFACE, message
from tritonclient.grpc import service_pb2

from nimify.serving.grpc import frames

GREETING: Final = PREFACE + frames.settings_frame({})
_SERVICE: Final = "/inference.GRPCInferenceService/"
_PATHS: Final = [
    *(
        _SERVICE + method
        for method in (
            "ModelInfer",
            "ModelInfer",
            "ModelInfer",
            "ModelStreamInfer",
            "ModelStreamInfer",
            "ServerLive",
            "ModelMetadata",
            "ModelConfig",
            "ModelStatistics",
            "RepositoryIndex",
            "SystemSharedMemoryStatus",
            "Nothing",
        )
    ),
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/",
    "",
]
_MORE_FIELDS: Final = [
    ("grpc-timeout", "0n"),
    ("grpc-timeout", "-1S"),
    ("grpc-timeout", "99999999H"),
    ("grpc-timeout", "1x"),
    ("grpc-encoding", "gzip"),
    ("grpc-encoding", "snappy"),
    ("content-length", "5"),
    ("content-length", "-1"),
    ("a-bin", "!"),
    ("grpc-status", "13"),
    ("connection", "close"),
    ("te", "gzip"),
    ("Upper", "x"),
    (":late", "x"),
    (":path", "/again"),
    ("cookie", "a" * 9000),
    ("", ""),
    ("x", "\r\n"),
]
_BLOCK_DAMAGES: Final = [
    b"\x80", b"\x00", b"\xff\xff\xff\xff\xff\x7f", b"\x3f\xff\xff\xff\x7f", b"\x20", b"\x3f\xe1\x1f", b"\xbf", b"\xbe",
    b"\x40\x85\xff\xff\xff\xff\xff\x81a", b"\x10\x00\x00", b"\x7f\x00", b"\x82\x83\x84",
]  # fmt: skip
_FLAGS = st.sampled_from((0, 1, 4, 5, 5, 8, 0x20, 0x2D, 0xFF)) | st.integers(0, 255)
_STREAMS = st.sampled_from((1, 1, 1, 3, 3, 5, 0, 2, 2**31 - 1))
_ERROR_CODES = st.integers(0, 14).map(lambda code: struct.pack(">I", code))

GOOD: Final = service_pb2.ModelInferRequest(
    model_name="fuzzed",
    id="1",
    inputs=[
        service_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 3]),
        service_pb2.ModelInferRequest.InferInputTensor(name="words", datatype="BYTES", shape=[1, 2]),
    ],
    raw_input_contents=[RAW_X, RAW_WORDS],
)
_TYPED: Final = service_pb2.ModelInferRequest(
    model_name="fuzzed",
    inputs=[
        service_pb2.ModelInferRequest.InferInputTensor(
            name="x",
            datatype="FP32",
            shape=[1, 2],
            contents=service_pb2.InferTensorContents(fp32_contents=[1.0, 2.0]),
        ),
        service_pb2.ModelInferRequest.InferInputTensor(
            name="words",
            datatype="BYTES",
            shape=[1, 1],
            contents=service_pb2.InferTensorContents(bytes_contents=[b"a"]),
        ),
    ],
    outputs=[service_pb2.ModelInferRequest.InferRequestedOutputTensor(name="y")],
    parameters={"timeout": service_pb2.InferParameter(int64_param=1_000_000)},
)
_LARGE: Final = service_pb2.ModelInferRequest(
    model_name="fuzzed",
    inputs=[
        service_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 300_000]),
        service_pb2.ModelInferRequest.InferInputTensor(name="words", datatype="BYTES", shape=[1, 2]),
    ],
    raw_input_contents=[bytes(1_200_000), RAW_WORDS],
)
"""Read in another way: beside the event loop."""
_DATATYPES: Final = ["FP32", "BYTES", "BOOL", "BF16", "fp32", ""]


def _block(path: str, *more: tuple[str, str]) -> bytes:
    given = [(":method", "POST"), (":scheme", "http"), (":path", path), ("te", "trailers")]
    encoded: bytes = hpack.Encoder().encode([*given, ("content-type", "application/grpc"), *more])
    return encoded


_A_PATH = st.sampled_from(_PATHS)
_SOME_FIELDS = st.lists(st.sampled_from(_MORE_FIELDS), max_size=3)
_A_FEW = st.integers(1, 4)
_A_CUT = st.sampled_from((1.0, 1.0, 0.0, 0.1, 0.5))
_AN_END = st.sampled_from((0, frames.END_STREAM))


@st.composite
def header_blocks(draw: st.DrawFn) -> Case:
    """Calls whose header blocks are damaged, have odd fields, or come in several frames."""
    parts = [GREETING]
    for stream in range(1, 2 * draw(_A_FEW), 2):
        block = draw(damaged(_block(draw(_A_PATH), *draw(_SOME_FIELDS)), _BLOCK_DAMAGES))
        cut, flags = int(draw(_A_CUT) * len(block)), draw(_AN_END)
        if cut == len(block):
            parts.append(_frame(frames.HEADERS, flags | frames.END_HEADERS, stream, block))
        else:
            parts.append(_frame(frames.HEADERS, flags, stream, block[:cut]))
            parts.append(_frame(frames.CONTINUATION, frames.END_HEADERS, stream, block[cut:]))
        if not flags:
            parts.append(_frame(frames.DATA, frames.END_STREAM, stream, message(GOOD.SerializeToString())))
    return draw(in_pieces("header_blocks", b"".join(parts)))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return frames.frame(kind, flags, stream, payload[: frames.LONGEST_FRAME])


_SETTINGS = st.lists(
    st.tuples(st.integers(0, 8), st.sampled_from((0, 1, 16384, 65535, 2**31 - 1, 2**32 - 1))), max_size=3
).map(lambda given: b"".join(struct.pack(">HI", *setting) for setting in given))
_PAYLOADS: Final[dict[int, st.SearchStrategy[bytes]]] = {
    frames.DATA: st.sampled_from((b"", message(GOOD.SerializeToString()), b"\0\0\0\0\5", b"\4abcd\0\0\0\0")),
    frames.HEADERS: _A_PATH.map(_block),
    frames.PRIORITY: st.just(b"\0\0\0\1\x10"),
    frames.RST_STREAM: _ERROR_CODES,
    frames.SETTINGS: _SETTINGS,
    frames.PUSH_PROMISE: st.just(b"\0\0\0\2"),
    frames.PING: st.just(b"12345678"),
    frames.GOAWAY: _ERROR_CODES.map(lambda code: b"\0\0\0\1" + code),
    frames.WINDOW_UPDATE: st.sampled_from((b"\0\0\0\1", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff")),
    frames.CONTINUATION: _A_PATH.map(_block),
    10: st.just(b""),
}
_NOISE = st.binary(max_size=20)
_A_FRAME = st.one_of(
    [
        st.builds(_frame, st.just(kind), _FLAGS, _STREAMS, payload | _NOISE if kind else payload)
        for kind, payload in _PAYLOADS.items()
    ]
)
_SOME_FRAMES = st.lists(_A_FRAME, max_size=12).map(b"".join)
_A_START = st.just(b"") | _A_PATH.map(lambda path: _frame(frames.HEADERS, frames.END_HEADERS, 1, _block(path)))


@st.composite
def frame_sequences(draw: st.DrawFn) -> Case:
    """Frames of every kind, on streams that are open or not, and damaged at times."""
    whole = GREETING + draw(_A_START) + draw(_SOME_FRAMES)
    return draw(in_pieces("frame_sequences", draw(damaged(whole, [b"\0" * 9, b"\xff" * 9], most=1))))


def _odd_request(request: service_pb2.ModelInferRequest, seed: int) -> bytes:
    """A request in which some things are not as they should be."""
    random, odd = Random(seed), service_pb2.ModelInferRequest()
    odd.CopyFrom(request)
    for tensor in odd.inputs:
        if random.random() < 0.25:
            tensor.shape[:] = random.choices((0, 1, 2, 3, -1, 2**31, 2**62), k=random.randint(0, 4))
        if random.random() < 0.15:
            tensor.datatype = random.choice(_DATATYPES)
        if random.random() < 0.15:
            tensor.contents.int64_contents.append(1)
    if random.random() < 0.2:
        odd.raw_input_contents.append(random.choice(RAW_DAMAGES))
    serialized: bytes = odd.SerializeToString()
    return serialized


_A_REQUEST = st.builds(_odd_request, st.sampled_from((GOOD, GOOD, _TYPED, _TYPED, _LARGE)), st.integers(0, 2**32 - 1))
_PACKED = st.booleans()
_A_SIZE = st.sampled_from((1 << 14, 50, 7))
_MESSAGE_DAMAGES: Final = [b"\1", b"\0\0\0\0\0", b"\0\xff\xff\xff\xff", b"\2\0\0\0\0"]


@st.composite
def messages(draw: st.DrawFn) -> Case:
    """A well-begun call with messages that are damaged, wrongly framed, or say what is not so."""
    packed, parts = draw(_PACKED), []
    for _ in range(draw(_A_FEW) - 1):
        content = draw(damaged(draw(_A_REQUEST), RAW_DAMAGES, most=1))
        parts.append(message(gzip.compress(content, 1, mtime=0) if packed else content, flag=int(packed)))
    body = draw(damaged(b"".join(parts), _MESSAGE_DAMAGES, most=1))
    more = [("grpc-encoding", "gzip")] if packed else []
    sent = [GREETING, _frame(frames.HEADERS, frames.END_HEADERS, 1, _block(draw(_A_PATH), *more))]
    size = draw(_A_SIZE) if len(body) < 1 << 16 else frames.LONGEST_FRAME
    sent += [_frame(frames.DATA, 0, 1, body[at : at + size]) for at in range(0, len(body), size)]
    return Case("messages", (b"".join(sent) + _frame(frames.DATA, frames.END_STREAM, 1, b""),))
