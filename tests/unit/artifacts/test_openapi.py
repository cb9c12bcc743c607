"""openapi.json: valid, and exactly as strict as the service."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types
from openapi_spec_validator import validate

from nimify.artifacts.openapi.document import openapi_artifact
from nimify.artifacts.openapi.tensors import input_schema, output_schema
from nimify.serving.faults import RequestFault
from nimify.serving.json_tensors import array_from_nested
from nimify.tensors import DATATYPES, TensorSpec
from nimify.testing import models

Prepare = Callable[..., Any]
Document = dict[str, Any]


def document_of(prepared: Any) -> Document:
    document: Document = json.loads(openapi_artifact(prepared.plan, prepared.analysis.golden).content)
    return document


def accepts(document: Document, schema: str, value: object) -> bool:
    root = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    return bool(Draft202012Validator(root).is_valid(value))


@pytest.mark.parametrize("kind", models.ALL)
def test_the_document_of_every_kind_of_model_is_valid(kind: str, prepare: Prepare) -> None:
    """A public validator accepts it, and its operation ids are unique."""
    document = document_of(prepare(kind))
    validate(document)
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("kind", ["tiny", "strings", "several-outputs", "scalar-output", "bf16"])
def test_the_worked_example_keeps_to_its_own_schema(kind: str, prepare: Prepare) -> None:
    """The golden case is shown, and is what the schemas describe."""
    document = document_of(prepare(kind))
    operation = document["paths"]["/v1/infer"]["post"]
    (request,) = operation["requestBody"]["content"]["application/json"]["examples"].values()
    (response,) = operation["responses"]["200"]["content"]["application/json"]["examples"].values()
    assert accepts(document, "InferRequest", request["value"])
    assert accepts(document, "InferResponse", response["value"])


def test_a_large_example_is_left_out(prepare: Prepare) -> None:
    """An image would hide the document."""
    content = document_of(prepare("image"))["paths"]["/v1/infer"]["post"]["requestBody"]["content"]
    assert "examples" not in content["application/json"]


@pytest.mark.parametrize(
    ("request_body", "good"),
    [
        ({"inputs": {"x": [[1, 2, 3, 4]]}}, True),
        ({"inputs": {"x": [[1, 2, 3, 4]] * 32}, "id": "a", "outputs": ["y"], "parameters": {"timeout": 5}}, True),
        ({"inputs": {"x": [[1, 2, 3, 4]] * 33}}, False),
        ({"inputs": {"x": []}}, False),
        ({"inputs": {"x": [[1, 2, 3]]}}, False),
        ({"inputs": {"x": [[1, 2, 3, "4"]]}}, False),
        ({"inputs": {"x": [[1, 2, 3, None]]}}, False),
        ({"inputs": {"x": [[1, 2, 3, True]]}}, False),
        ({"inputs": {"x": [[1, 2, 3, 3.5e38]]}}, False),
        ({"inputs": {"x": [[1, 2, 3, 4]], "z": [1]}}, False),
        ({"inputs": {}}, False),
        ({"inputs": {"x": [[1, 2, 3, 4]]}, "more": 1}, False),
        ({"inputs": {"x": [[1, 2, 3, 4]]}, "outputs": ["z"]}, False),
        ({"inputs": {"x": [[1, 2, 3, 4]]}, "outputs": ["y", "y"]}, False),
        ({"inputs": {"x": [[1, 2, 3, 4]]}, "parameters": {"timeout": -1}}, False),
    ],
)
def test_the_request_schema_draws_the_line_where_the_service_does(
    request_body: object, good: bool, prepare: Prepare
) -> None:
    """What the service takes is accepted, what it refuses is not."""
    assert accepts(document_of(prepare("tiny")), "InferRequest", request_body) is good


@pytest.mark.parametrize(
    ("datatype", "good", "bad"),
    [
        ("BOOL", [True], [1, "true"]),
        ("UINT8", [0, 255], [-1, 256, 1.5]),
        ("INT8", [-128, 127], [-129, 128]),
        ("UINT64", [2**64 - 1], [2**64, -1]),
        ("INT64", [-(2**63), 2**63 - 1], [2**63]),
        ("FP16", [65504, 65519.9], [65520, -65520]),
        ("BF16", [3.38e38], [3.4e38]),
        ("FP32", [3.4028235e38, -3.4028235e38], [3.4028236e38]),
        ("FP64", [1.7976931348623157e308], ["1"]),
        ("BYTES", ["", "é\u0000"], [1, None]),
    ],
)
def test_elements_are_bound_to_their_datatype(datatype: str, good: list[object], bad: list[object]) -> None:
    """A number is accepted exactly when it does not overflow in the tensor."""
    validator = Draft202012Validator(input_schema(TensorSpec("x", DATATYPES[datatype], ()), 0))
    assert [validator.is_valid(value) for value in good] == [True] * len(good)
    assert [validator.is_valid(value) for value in bad] == [False] * len(bad)


@pytest.mark.parametrize("name", ["FP16", "BF16", "FP32", "FP64"])
def test_the_bound_of_a_float_is_where_the_service_draws_it(name: str) -> None:
    """The largest accepted number is accepted by the service, and the next one is refused by both."""
    spec = TensorSpec("x", DATATYPES[name], (1,))
    element = input_schema(spec, 0)["items"]
    if name == "FP64":
        largest = element["maximum"]
    else:
        bound = element["exclusiveMaximum"]
        largest = np.nextafter(bound, 0.0).item()
        with pytest.raises(RequestFault):
            array_from_nested([bound], spec.datatype, 1, "x")
    assert array_from_nested([largest], spec.datatype, 1, "x").shape == (1,)
    assert array_from_nested([-largest], spec.datatype, 1, "x").shape == (1,)


def test_only_float_outputs_may_be_null() -> None:
    """JSON has no NaN, and whole numbers have none either."""
    floats = Draft202012Validator(output_schema(TensorSpec("y", DATATYPES["FP32"], (2,)), 0))
    integers = Draft202012Validator(output_schema(TensorSpec("y", DATATYPES["INT64"], (2,)), 0))
    assert floats.is_valid([1.5, None])
    assert not integers.is_valid([1, None])


def test_an_empty_list_may_not_hide_an_axis_of_fixed_length() -> None:
    """The service cannot see from `[]` that rows have four elements, and refuses it."""
    hiding = Draft202012Validator(input_schema(TensorSpec("x", DATATYPES["FP32"], ("n", 4)), 0))
    last = Draft202012Validator(input_schema(TensorSpec("x", DATATYPES["FP32"], ("n",)), 0))
    assert not hiding.is_valid([])
    assert last.is_valid([])
