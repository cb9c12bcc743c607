"""Tensors in gRPC messages: every datatype comes back as it was, and answers are what protobuf would write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nimify.serving.faults import RequestFault
from nimify.serving.grpc.protos import inference_pb2 as pb
from nimify.serving.grpc.tensors import ResponseWriter, decoded_inputs, in_stream
from nimify.serving.raw_tensors import bytes_from_array
from nimify.tensors import DATATYPES

FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def sample(name: str) -> np.ndarray[Any, Any]:
    """Two rows with the extremes of a datatype."""
    storage = DATATYPES[name].storage
    if name == "BYTES":
        return np.array([[b"", b"a\0b"], [b"\xff", "ü".encode()]], dtype=object)
    if name == "BOOL":
        return np.array([[True, False], [False, True]])
    if storage.kind == "f":
        return np.array([[0.5, -0.0], [np.inf, np.finfo(storage).max]], dtype=storage)
    info = np.iinfo(storage)
    return np.array([[info.min, info.max], [0, 1]], dtype=storage)


@pytest.mark.parametrize("name", DATATYPES)
def test_raw_bytes_are_the_tensor(name: str) -> None:
    """For every datatype."""
    array = sample(name)
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype=name, shape=[2, 2])
    request = pb.ModelInferRequest(inputs=[tensor], raw_input_contents=[bytes_from_array(array, DATATYPES[name])])
    arrays, datatypes = decoded_inputs(request)
    assert datatypes == {"x": DATATYPES[name]}
    assert arrays["x"].tolist() == array.tolist()
    assert arrays["x"].dtype == array.dtype


@pytest.mark.parametrize("name", FIELDS)
def test_typed_contents_are_the_tensor(name: str) -> None:
    """In the field of the datatype; in any other they are refused by name."""
    array = sample(name)
    for field in set(FIELDS.values()):
        contents = pb.InferTensorContents()
        values = array.ravel().tolist() if field == FIELDS[name] else [b"a"] if field == "bytes_contents" else [1]
        getattr(contents, field).extend(values)
        tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype=name, shape=[2, 2], contents=contents)
        request = pb.ModelInferRequest(inputs=[tensor])
        if field == FIELDS[name]:
            arrays, _ = decoded_inputs(request)
            assert arrays["x"].tolist() == array.tolist()
            assert arrays["x"].dtype == array.dtype
        else:
            with pytest.raises(RequestFault, match=FIELDS[name]):
                decoded_inputs(request)


@pytest.mark.parametrize(("name", "value"), [("INT8", 128), ("INT16", -32769), ("UINT8", 256), ("UINT16", 65536)])
def test_an_element_that_does_not_fit_is_refused(name: str, value: int) -> None:
    """It does not wrap around."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype=name, shape=[1])
    getattr(tensor.contents, FIELDS[name]).append(value)
    with pytest.raises(RequestFault, match="out of range"):
        decoded_inputs(pb.ModelInferRequest(inputs=[tensor]))


@pytest.mark.parametrize("id", ["", "r-1", "ü" * 200])
@pytest.mark.parametrize("name", DATATYPES)
def test_an_answer_is_what_protobuf_would_write(name: str, id: str) -> None:
    """Also when it is written from what was remembered, and inside a stream's message."""
    writer, array, datatype = ResponseWriter("m", "1"), sample(name), DATATYPES[name]
    expected = pb.ModelInferResponse(model_name="m", model_version="1", id=id)
    for output in ("a", "b"):
        expected.outputs.add(name=output, datatype=name, shape=[2, 2])
        expected.raw_output_contents.append(bytes_from_array(array, datatype))
    for _ in range(2):
        written = writer.write(id, [("a", datatype, array), ("b", datatype, array)])
        assert pb.ModelInferResponse.FromString(b"".join(written)) == expected
        assert pb.ModelStreamInferResponse.FromString(b"".join(in_stream(written))).infer_response == expected


def test_answers_of_other_shapes_are_not_mixed_up() -> None:
    """However many there are."""
    writer = ResponseWriter("m", "1")
    for length in [*range(300), *range(300)]:
        written = b"".join(writer.write("", [("a", DATATYPES["FP32"], np.zeros((1, length), "<f4"))]))
        assert list(pb.ModelInferResponse.FromString(written).outputs[0].shape) == [1, length]
