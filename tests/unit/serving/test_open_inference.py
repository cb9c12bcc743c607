"""Messages of the Open Inference Protocol: both ways, in JSON and binary, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nimify.serving.engines.engine import Array
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.open_inference import (
    MAX_TENSORS,
    checked_parameters,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from nimify.tensors import DATATYPES, Datatype, TensorSpec

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)


def elements(datatype: Datatype, *, binary: bool) -> st.SearchStrategy[Array]:
    """Arrays of a datatype; those for JSON hold only what JSON can say."""
    if datatype.name == "BYTES":
        items = st.binary(max_size=5) if binary else st.text(max_size=3).map(str.encode)
        return hnp.arrays(object, SHAPES, elements=items, fill=st.nothing())
    if datatype.name == "BF16" and not binary:
        finite = st.integers(0, 0xFFFF).filter(lambda bits: bits & 0x7F80 != 0x7F80)
        return hnp.arrays(datatype.storage, SHAPES, elements=finite)
    if datatype.is_float and datatype.name != "BF16" and not binary:
        finite_floats = hnp.from_dtype(datatype.storage, allow_nan=False, allow_infinity=False)
        return hnp.arrays(datatype.storage, SHAPES, elements=finite_floats)
    return hnp.arrays(datatype.storage, SHAPES)


def same(left: Array, right: Array) -> bool:
    """Equal to the last bit: negative zeros and the payloads of NaN included."""
    if left.dtype.hasobject:
        return left.shape == right.shape and bool(left.tolist() == right.tolist())
    return (left.shape, left.dtype) == (right.shape, right.dtype) and left.tobytes() == right.tobytes()


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
@pytest.mark.parametrize("name", DATATYPES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_tensor_arrives_as_it_was_sent(name: str, binary: bool, data: st.DataObject) -> None:
    """Request and response, every datatype and shape, bit by bit, behind a JSON part of any length."""
    datatype = DATATYPES[name]
    arrays = {f"t{index}": data.draw(elements(datatype, binary=binary)) for index in range(2)}
    specs = [TensorSpec(key, datatype, array.shape) for key, array in arrays.items()]
    text = "r" * data.draw(st.integers(0, 8))
    request = decode_request(*encode_request(arrays, specs, id=text, outputs=["y"], binary=binary))
    response = decode_response(
        *encode_response(arrays, specs, model_name="m", model_version="1", id=text, binary=binary)
    )
    for message in (request, response):
        assert list(message.tensors) == list(arrays)
        assert all(same(message.tensors[key], array) for key, array in arrays.items())
        assert set(message.datatypes.values()) == {datatype}
        assert message.fields.get("id", "") == text
    assert request.fields["outputs"] == [{"name": "y"}]
    assert (response.fields["model_name"], response.fields["model_version"]) == ("m", "1")


def test_only_a_binary_request_asks_for_binary_outputs() -> None:
    """And only a binary message has a header length."""
    specs, arrays = [TensorSpec("x", DATATYPES["INT8"], (1,))], {"x": np.array([1], dtype="i1")}
    body, length = encode_request(arrays, specs, binary=True)
    assert length is not None
    assert orjson.loads(body[:length])["parameters"] == {"binary_data_output": True}
    assert encode_request(arrays, specs, binary=False)[1] is None


def tensor(**changes: Any) -> dict[str, Any]:
    row = {"name": "x", "datatype": "INT32", "shape": [2], "data": [1, 2], **changes}
    return {key: value for key, value in row.items() if value is not ...}


def binary(size: Any, **changes: Any) -> dict[str, Any]:
    return tensor(data=..., parameters={"binary_data_size": size}, **changes)


@pytest.mark.parametrize(
    "inputs",
    [
        ...,
        None,
        [],
        {},
        "x",
        [None],
        ["x"],
        [[]],
        [tensor(name=...)],
        [tensor(name="")],
        [tensor(name=3)],
        [tensor(name=None)],
        [tensor(datatype=...)],
        [tensor(datatype="int32")],
        [tensor(datatype="TYPE_INT32")],
        [tensor(datatype=["INT32"])],
        [tensor(shape=...)],
        [tensor(shape=[-1])],
        [tensor(shape=[2.5])],
        [tensor(shape=[16, 2**60 + 2])],
        [tensor(shape=[2**31 - 1] * 64)],
        [tensor(data=...)],
        [tensor(data=None)],
        [tensor(data=[1, 0.1])],
        [tensor(data=[1, True])],
        [tensor(data=[1, None])],
        [tensor(data=[1, 2**31])],
        [tensor(), tensor()],
        [tensor(parameters=[])],
        [tensor(parameters="binary_data_size")],
        [tensor(parameters={"a": None})],
        [tensor(parameters={"a": {}})],
        [tensor(parameters={"binary_data_size": 8})],
        [tensor(name=f"x{index}", shape=[0], data=[]) for index in range(MAX_TENSORS + 1)],
    ],
    ids=lambda inputs: repr(inputs)[:60],
)
def test_wrong_inputs_are_the_clients_fault(inputs: Any) -> None:
    """One sentence that blames the request; never another exception."""
    document = {} if inputs is ... else {"inputs": inputs}
    with pytest.raises(RequestFault) as caught:
        decode_request(orjson.dumps(document), None)
    assert caught.value.kind is Kind.INVALID_ARGUMENT
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("rows", "raw"),
    [
        ([binary(8)], b"1234567"),
        ([binary(8)], b"123456789"),
        ([binary(7)], b"1234567"),
        ([binary(-8)], b"12345678"),
        ([binary(8.0)], b"12345678"),
        ([binary(True, shape=[], datatype="BOOL")], b"\x01"),
        ([binary("8")], b"12345678"),
        ([binary(2**63)], b"12345678"),
        ([binary(8), binary(8)], b"1234567812345678"),
        ([binary(8), binary(8, name="y")], b"12345678"),
        ([binary(0, shape=[0, 2**31 - 1, 2**31 - 1, 2**31 - 1])], b""),
        ([tensor()], b"1"),
        ([tensor(data=...)], b"12345678"),
    ],
    ids=repr,
)
def test_binary_sizes_that_lie_are_the_clients_fault(rows: list[dict[str, Any]], raw: bytes) -> None:
    """Each tensor takes the bytes that it names, all bytes are taken, and they fit the shape."""
    header = orjson.dumps({"inputs": rows})
    with pytest.raises(RequestFault) as caught:
        decode_request(header + raw, len(header))
    assert caught.value.kind is Kind.INVALID_ARGUMENT


@pytest.mark.parametrize("length", [-1, 3, 10**11])
def test_a_header_length_must_be_that_of_the_json_part(length: int) -> None:
    """Negative, inside the JSON, or beyond the body."""
    with pytest.raises(RequestFault):
        decode_request(orjson.dumps({"inputs": [tensor()]}), length)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"1",
        b"{",
        b"{} {}",
        b"{}\x00",
        b"{'a': 1}",
        b"\xef\xbb\xbf{}",
        b"\xff",
        "{}".encode("utf-16"),
        b'{"inputs": NaN}',
        b'{"a": "\\ud800"}',
        b'{"a":' * 100_000,
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_must_be_one_json_object(body: bytes) -> None:
    """Depth, encodings and trailing garbage included."""
    with pytest.raises(RequestFault) as caught:
        decode_request(body, None)
    assert caught.value.kind is Kind.INVALID_ARGUMENT


def test_json_and_binary_tensors_may_be_mixed() -> None:
    """Each input says for itself where its data is."""
    header = orjson.dumps(
        {"inputs": [tensor(name="a"), binary(8, name="b"), tensor(name="c", data=[[3, 4]], shape=[1, 2])]}
    )
    message = decode_request(header + np.array([5, 6], dtype="<i4").tobytes(), len(header))
    assert {name: array.tolist() for name, array in message.tensors.items()} == {
        "a": [1, 2],
        "b": [5, 6],
        "c": [[3, 4]],
    }


def test_parameters_hold_plain_values() -> None:
    """Left out is empty; names to text, numbers and booleans are taken as they are."""
    assert checked_parameters(None, "it") == {}
    assert checked_parameters({"a": 1, "b": 0.5, "c": True, "d": "x"}, "it") == {"a": 1, "b": 0.5, "c": True, "d": "x"}
    wrongs: list[Any] = [[], "a", {"a": None}, {"a": []}]
    for wrong in wrongs:
        with pytest.raises(RequestFault, match="Cannot use it"):
            checked_parameters(wrong, "it")
