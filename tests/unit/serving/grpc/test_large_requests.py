"""Large requests: what is cut out and what is left are the message, and what is none is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimify.serving.faults import RequestFault
from nimify.serving.grpc.large_requests import split
from nimify.serving.grpc.protos import inference_pb2 as pb

TENSOR = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 3])


@given(st.text(max_size=300), st.lists(st.binary(max_size=300), max_size=5), st.integers(0, 3))
def test_the_two_parts_are_the_message(id: str, raw: list[bytes], inputs: int) -> None:
    """Whatever is in it, and in whatever order protobuf writes it."""
    request = pb.ModelInferRequest(model_name="m", id=id, inputs=[TENSOR] * inputs, raw_input_contents=raw)
    request.parameters["timeout"].int64_param = -1
    rest, views = split(bytearray(request.SerializeToString()))
    assert [bytes(view) for view in views] == raw
    del request.raw_input_contents[:]
    assert pb.ModelInferRequest.FromString(rest) == request


def test_unknown_fields_are_left_in() -> None:
    """Of every kind but groups, which proto3 does not have."""
    unknown = b"\xf8\x07\x96\x01" + b"\xf9\x07" + bytes(8) + b"\xfd\x07" + bytes(4) + b"\xfa\x07\x02ab"
    assert split(b"\x0a\x01m" + unknown + b"\x3a\x01r")[0] == b"\x0a\x01m" + unknown


@pytest.mark.parametrize(
    "content",
    [
        b"\x3a",
        b"\x3a\x05abc",
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\xff" * 20,
        b"\x0b",
        b"\x09abc",
        b"\x0dab",
        b"\x08",
    ],
)
def test_what_is_no_message_is_refused(content: bytes) -> None:
    """Cut short, longer than it is, or of a kind that is not there."""
    with pytest.raises(RequestFault, match="not a valid protobuf message"):
        split(content)


def test_very_many_fields_are_refused() -> None:
    """Each input of two bytes would take a hundred in memory."""
    with pytest.raises(RequestFault, match="at most 4096 fields"):
        split(b"\x2a\x00" * 100_000)
