"""Requests and answers on Triton's wire: a JSON head, and raw tensors behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from nimify.serving.raw_tensors import bytes_from_array
from nimify.serving.spec import ServiceSpec
from nimify.serving.triton.connection import Reply
from nimify.serving.triton.tensors import AnswerMalformed, TensorCodec, error_text
from nimify.tensors import DATATYPES, Datatype, Signature, TensorSpec


@pytest.fixture
def spec(make_bundle: Callable[..., Path]) -> ServiceSpec:
    """A service `tiny` that merges requests."""
    return ServiceSpec.load(make_bundle("tiny"))


def parts(pieces: list[bytes | memoryview]) -> tuple[bytes, Any, bytes]:
    """Request line and headers, the JSON head, and the tensors of a request."""
    content = b"".join(pieces)
    start, _, body = content.partition(b"\r\n\r\n")
    headers = dict(line.split(b": ", 1) for line in start.split(b"\r\n")[1:])
    length = int(headers[b"inference-header-content-length"])
    assert int(headers[b"content-length"]) == len(body)
    return start.split(b"\r\n")[0], orjson.loads(body[:length]), body[length:]


def reply(tensors: list[tuple[str, Datatype, Any, list[int]]], **changes: Any) -> Reply:
    raw = [bytes_from_array(array, datatype) for _, datatype, array, _ in tensors]
    rows = [
        {"name": name, "datatype": datatype.name, "shape": shape, "parameters": {"binary_data_size": len(content)}}
        for (name, datatype, _, shape), content in zip(tensors, raw, strict=True)
    ]
    head = orjson.dumps({"model_name": "tiny", "outputs": rows})
    return Reply(**{"status": 200, "body": b"".join([head, *raw]), "head_length": len(head), **changes})


def test_a_request_is_a_head_and_raw_tensors(spec: ServiceSpec) -> None:
    """For the planned version, with every output as raw bytes; numbers are not copied into text."""
    array = np.arange(8, dtype=np.float32).reshape(2, 4)
    line, head, raw = parts(TensorCodec(spec).request({"x": array}, ["y"], timeout_us=0))
    assert line == b"POST /v2/models/tiny/versions/1/infer HTTP/1.1"
    assert head == {
        "inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "parameters": {"binary_data_size": 32}}],
        "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
    }
    assert raw == array.tobytes()


def test_the_time_that_is_left_is_passed_on(spec: ServiceSpec) -> None:
    """So that Triton's queue drops what nobody waits for."""
    _, head, _ = parts(TensorCodec(spec).request({"x": np.zeros((1, 4), np.float32)}, ["y"], timeout_us=1500))
    assert head["parameters"] == {"timeout": 1500}


@pytest.mark.parametrize("datatype", DATATYPES.values(), ids=DATATYPES)
def test_every_datatype_comes_back_as_it_went(datatype: Datatype, spec: ServiceSpec) -> None:
    """Through the request's bytes, and the same bytes as an answer; an empty tensor as well."""
    tensor = (TensorSpec("x", datatype, ("batch", 3)),)
    codec = TensorCodec(replace(spec, signature=Signature(tensor, tensor)))
    for rows in (2, 0):
        if datatype.itemsize:
            array = np.arange(rows * 3).reshape(rows, 3).astype(datatype.storage)
        else:
            array = np.array([b"", b"a\0", b"\xff"] * rows, dtype=object).reshape(rows, 3)
        _, head, raw = parts(codec.request({"x": array}, ["x"], timeout_us=0))
        assert head["inputs"][0]["shape"] == [rows, 3]
        (back,) = codec.answer(reply([("x", datatype, array, [rows, 3])]), ["x"])
        assert raw == bytes_from_array(array, datatype)
        assert back.dtype == datatype.storage
        assert back.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("max_batch_size", "shape", "on_the_wire"), [(8, (3,), [3, 1]), (0, (), [1]), (0, (3,), [3]), (8, (3, 2), [3, 2])]
)
def test_ranks_are_those_of_the_configuration(
    max_batch_size: int, shape: tuple[int, ...], on_the_wire: list[int], spec: ServiceSpec
) -> None:
    """Triton knows no tensor of rank 0, and no row of rank 0: there it has one element, and not for our clients."""
    tensor = (TensorSpec("x", DATATYPES["FP32"], tuple(f"axis_{axis}" for axis in range(len(shape)))),)
    codec = TensorCodec(replace(spec, max_batch_size=max_batch_size, signature=Signature(tensor, tensor)))
    array = np.ones(shape, dtype=np.float32)
    _, head, _ = parts(codec.request({"x": array}, ["x"], timeout_us=0))
    assert head["inputs"][0]["shape"] == on_the_wire
    (back,) = codec.answer(reply([("x", DATATYPES["FP32"], array, on_the_wire)]), ["x"])
    assert back.shape == shape


def test_outputs_come_in_the_order_that_was_asked_for(spec: ServiceSpec) -> None:
    """Triton answers in an order of its own."""
    fp32 = DATATYPES["FP32"]
    outputs = tuple(TensorSpec(name, fp32, ("batch",)) for name in ("a", "b"))
    codec = TensorCodec(replace(spec, signature=Signature(outputs, outputs)))
    arrays = {name: np.full(1, value, np.float32) for name, value in (("a", 1), ("b", 2))}
    answer = codec.answer(reply([(name, fp32, arrays[name], [1, 1]) for name in ("b", "a")]), ["a", "b"])
    assert [float(array[0]) for array in answer] == [1, 2]


@pytest.mark.parametrize(
    "changes",
    [{"body": b""}, {"body": b"{}"}, {"body": b'{"outputs":[{"name":"z"}]}'}, {"head_length": 3}],
    ids=["empty", "no outputs", "unknown output", "wrong length"],
)
def test_an_answer_that_is_none_is_told_from_one(changes: dict[str, Any], spec: ServiceSpec) -> None:
    """Whatever it is that answered."""
    whole = reply([("y", DATATYPES["FP32"], np.zeros((1, 4), np.float32), [1, 4])])
    changes = {"head_length": None if "body" in changes else 3, **changes}
    with pytest.raises(AnswerMalformed):
        TensorCodec(spec).answer(replace(whole, **changes), ["y"])


def test_an_answer_with_too_few_bytes_is_malformed(spec: ServiceSpec) -> None:
    """The head promises more than came."""
    whole = reply([("y", DATATYPES["FP32"], np.zeros((1, 4), np.float32), [1, 4])])
    with pytest.raises(AnswerMalformed):
        TensorCodec(spec).answer(replace(whole, body=whole.body[:-1]), ["y"])


def test_tritons_own_words_are_read_for_the_log() -> None:
    """And what is not in its envelope is nothing."""
    assert error_text(Reply(400, b'{"error":"bad"}', None)) == "bad"
    assert error_text(Reply(500, b"<html>", None)) == ""
    assert error_text(Reply(500, b"[]", None)) == ""
