"""Thousands of wrong messages over gRPC: each gets an answer that blames its sender, and costs the service nothing."""

from __future__ import annotations

import itertools
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from nimify.tensors import DATATYPES

if TYPE_CHECKING:
    from tests.conftest import RunningService

SERVICE: Final = "/inference.GRPCInferenceService/"
ROW: Final = struct.pack("<4f", 1, 2, 3, 4)
GROWTH: Final = 32 << 20
TIMEOUT_S: Final = 60.0
"""A call that takes longer hangs."""
BLAMES_THE_SENDER: Final = {
    grpc.StatusCode.OK,  # by chance, what was changed did not matter
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED,
}
METHODS: Final = (
    "ModelInfer",
    "ModelReady",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "ServerMetadata",
    "RepositoryModelLoad",
    "SystemSharedMemoryRegister",
    "TraceSetting",
)
EXTREMES: Final = (-(2**63), -(2**31), -1, 0, 1, 2, 3, 4, 5, 33, 2**31 - 1, 2**31, 2**62 + 1, 2**63 - 1)
CONTENTS: Final[dict[str, tuple[Any, ...]]] = {
    "bool_contents": (True,),
    "int_contents": (-1, 2**31 - 1),
    "int64_contents": (-(2**63),),
    "uint_contents": (2**32 - 1,),
    "uint64_contents": (2**64 - 1,),
    "fp32_contents": (float("nan"), float("inf")),
    "fp64_contents": (1e308,),
    "bytes_contents": (b"", b"\xff\0"),
}


@pytest.fixture(scope="module")
def running(start_service: Callable[..., RunningService], make_bundle: Callable[..., Path]) -> RunningService:
    return start_service(make_bundle("tiny"), "--max-body-size", "1MiB")


@pytest.fixture
def send(running: RunningService, resident_bytes: Callable[[int], int]) -> Iterator[Callable[..., Counter[str]]]:
    """Call a method with each of many bodies, and count how they end; the service must be none the worse for it."""
    before = resident_bytes(running.process.pid)
    with grpc.insecure_channel(running.grpc_address, [("grpc.use_local_subchannel_pool", 1)]) as channel:

        def ended(method: str, body: bytes) -> grpc.StatusCode:
            code = grpc.StatusCode.OK
            details = ""
            try:
                if method == "ModelStreamInfer":
                    for _ in channel.stream_stream(SERVICE + method)(iter([body]), timeout=TIMEOUT_S):
                        pass
                else:
                    channel.unary_unary(SERVICE + method)(body, timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                code, details = error.code(), error.details()
            assert code in BLAMES_THE_SENDER, (method, body[:200], code, details)
            return code

        def sent(method: str, bodies: Iterator[bytes]) -> Counter[str]:
            return Counter(ended(method, body).name for body in bodies)

        yield sent
        answer = pb.ModelInferResponse.FromString(
            channel.unary_unary(SERVICE + "ModelInfer")(good().SerializeToString(), timeout=TIMEOUT_S)
        )
    assert answer.raw_output_contents == [struct.pack("<4f", 2, 3, 4, 5)]
    assert resident_bytes(running.process.pid) - before < GROWTH
    assert "Traceback" not in running.log.read_text()


def good(**fields: Any) -> Any:
    """A right request, or one with other fields."""
    given = {"model_name": "tiny", "inputs": [tensor()], "raw_input_contents": [ROW], **fields}
    return pb.ModelInferRequest(**given)


def tensor(**fields: Any) -> Any:
    return pb.ModelInferRequest.InferInputTensor(**{"name": "x", "datatype": "FP32", "shape": [1, 4], **fields})


def mutated(body: bytes, count: int, seed: int) -> Iterator[bytes]:
    """The bytes of a message with some of them changed, left out or doubled."""
    draw = random.Random(seed)
    for _ in range(count):
        changed = bytearray(body)
        for _ in range(draw.randint(1, 4)):
            position = draw.randrange(len(changed) + 1)
            match draw.randrange(4):
                case 0:
                    del changed[position : position + draw.randint(1, 8)]
                case 1:
                    changed[position:position] = draw.randbytes(draw.randint(1, 8))
                case 2:
                    changed[position:position] = changed[position : position + draw.randint(1, 30)]
                case _:
                    changed[position : position + 1] = bytes([draw.randrange(256)])
        yield bytes(changed)


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_messages_with_changed_bytes(method: str, send: Callable[..., Counter[str]]) -> None:
    """Most are refused, none brings the service down."""
    rich = good(
        id="an id",
        parameters={"timeout": pb.InferParameter(int64_param=10_000_000), "own": pb.InferParameter(string_param="a")},
        outputs=[
            pb.ModelInferRequest.InferRequestedOutputTensor(
                name="y", parameters={"classification": pb.InferParameter(int64_param=2)}
            )
        ],
    )
    ended = send(method, mutated(rich.SerializeToString(), 1000, seed=1))
    assert ended["INVALID_ARGUMENT"] > 100


@pytest.mark.parametrize("method", METHODS)
def test_every_method_survives_noise(method: str, send: Callable[..., Counter[str]]) -> None:
    """Random bytes, and the bytes of a message for another method."""
    draw = random.Random(2)
    noise = (draw.randbytes(draw.randint(0, 200)) for _ in range(100))
    ended = send(method, itertools.chain(noise, mutated(good().SerializeToString(), 100, seed=3)))
    assert ended.total() == 200


def test_shapes_that_no_bytes_fill(send: Callable[..., Counter[str]]) -> None:
    """Pairs of extreme lengths, raw and typed: only the true shape is answered, at once and without memory."""
    pairs = list(itertools.product(EXTREMES, repeat=2))
    raw = (good(inputs=[tensor(shape=pair)]).SerializeToString() for pair in pairs)
    four = pb.InferTensorContents(fp32_contents=[1, 2, 3, 4])
    typed = (
        good(inputs=[tensor(shape=pair, contents=four)], raw_input_contents=[]).SerializeToString() for pair in pairs
    )
    assert send("ModelInfer", itertools.chain(raw, typed)) == {"OK": 2, "INVALID_ARGUMENT": 2 * len(pairs) - 2}


def test_contents_of_every_other_kind(send: Callable[..., Counter[str]]) -> None:
    """Each field of typed contents under each datatype."""

    def requests() -> Iterator[bytes]:
        for datatype, (field, elements) in itertools.product((*DATATYPES, "", "fp32"), CONTENTS.items()):
            contents = pb.InferTensorContents(**{field: elements * 4})
            for shape in ([1, 4], [1, len(elements) * 4], [0, 4], []):
                row = tensor(datatype=datatype, shape=shape, contents=contents)
                yield good(inputs=[row], raw_input_contents=[]).SerializeToString()

    ended = send("ModelInfer", requests())
    assert set(ended) <= {"OK", "INVALID_ARGUMENT"}
    assert ended["OK"] <= 1  # four not-a-numbers of FP32 are four numbers of FP32


def test_many_of_everything(send: Callable[..., Counter[str]]) -> None:
    """Inputs, outputs, parameters and raw contents by the thousand, and names as long as a body may be."""
    many = 5000
    outputs = [pb.ModelInferRequest.InferRequestedOutputTensor(name=f"y{number}") for number in range(many)]
    requests = [
        good(inputs=[tensor(name=f"x{number}") for number in range(many)], raw_input_contents=[]),
        good(inputs=[tensor()] * many, raw_input_contents=[ROW] * many),
        good(raw_input_contents=[b""] * many),
        good(outputs=outputs),
        good(parameters={"own": pb.InferParameter()}),
        good(inputs=[tensor(name="x" * 900_000)]),
        good(model_name="tiny" * 200_000),
        good(inputs=[tensor(shape=[1] * many)]),
    ]
    ended = send("ModelInfer", (request.SerializeToString() for request in requests))
    assert ended == {"INVALID_ARGUMENT": len(requests) - 1, "NOT_FOUND": 1}
