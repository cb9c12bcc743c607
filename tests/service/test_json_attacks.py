"""The JSON layer against hostile documents, on `/v2` and on `/v1/infer`: always a 4xx or the right answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Ask, AssertRefused

Served = Callable[..., "RunningService"]

MIB = 1 << 20
V2 = '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[[%s,2,3,4]]}]%s}'
V1 = '{"inputs":{"x":[[%s,2,3,4]]}%s}'
SURFACES = pytest.mark.parametrize("surface", ["v2", "v1"])


def _path(surface: str, model: str = "tiny") -> str:
    return f"/v2/models/{model}/infer" if surface == "v2" else "/v1/infer"


def _good(surface: str, element: str = "1", more: str = "") -> str:
    return (V2 if surface == "v2" else V1) % (element, more)


def _assert_good(ask: Ask, service: RunningService, surface: str, body: str | bytes, first: float = 2.0) -> None:
    answer = ask(service, "POST", _path(surface), body)
    assert answer.status == 200, answer.body
    outputs = answer.json["outputs"]
    values = outputs[0]["data"] if surface == "v2" else outputs["y"][0]
    assert values == [first, 3.0, 4.0, 5.0]


# Not JSON, or not the kind of JSON that a request is.
DOCUMENTS = {
    "empty": b"",
    "blank": b" \r\n\t",
    "null": b"null",
    "list": b"[]",
    "string": b'"inputs"',
    "number": b"5",
    "true": b"true",
    "empty-object": b"{}",
    "depth-1100": b'{"inputs":' + b"[" * 1100 + b"]" * 1100 + b"}",
    "depth-250000": b"[" * 250_000,
    "depth-250000-of-objects": b'{"a":' * 250_000,
    "depth-120-closed": b'{"inputs":' + b"[" * 120 + b"]" * 120 + b"}",
    "bom": b"\xef\xbb\xbf" + _good("v2").encode(),
    "utf-16": _good("v2").encode("utf-16"),
    "utf-16-be": _good("v2").encode("utf-16-be"),
    "utf-32": _good("v2").encode("utf-32"),
    "invalid-utf-8": b'{"id":"\xff\xfe","inputs":[]}',
    "overlong-utf-8": b'{"id":"\xc0\xaf","inputs":[]}',
    "encoded-surrogate": b'{"id":"\xed\xa0\x80","inputs":[]}',
    "lone-surrogate": b'{"id":"\\ud800","inputs":[]}',
    "reversed-surrogates": b'{"id":"\\udc00\\ud800","inputs":[]}',
    "raw-nul-in-string": b'{"id":"a\x00b","inputs":[]}',
    "raw-newline-in-string": b'{"id":"a\nb","inputs":[]}',
    "trailing-garbage": _good("v2").encode() + b"x",
    "two-documents": _good("v2").encode() * 2,
    "trailing-comma": b'{"inputs":[],}',
    "comment": b'{/* */"inputs":[]}',
    "line-comment": b'//\n{"inputs":[]}',
    "single-quotes": b"{'inputs':[]}",
    "unquoted-key": b"{inputs:[]}",
    "cut-short": _good("v2").encode()[:-1],
    "key-without-value": b'{"inputs"}',
    "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtin\x94.",
    "xml": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "yaml": b"inputs: &a [*a]",
    "string-of-32-mib": b'{"inputs":"' + b"a" * (32 * MIB) + b'"}',
}


@SURFACES
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_that_is_no_request_is_refused(
    surface: str, name: str, served: Served, ask: Ask, assert_refused: AssertRefused
) -> None:
    """400 in the envelope of the API, and the next request is answered."""
    service = served("tiny")
    answer = ask(service, "POST", _path(surface), DOCUMENTS[name])
    assert_refused(answer, {400}, v2=surface == "v2")
    _assert_good(ask, service, surface, _good(surface))


@SURFACES
def test_a_body_over_the_limit_is_refused(
    surface: str, served: Served, ask: Ask, assert_refused: AssertRefused
) -> None:
    """413, whether the client says so before or not."""
    service = served("tiny", limits={"max_body_bytes": 4096})
    for size, status in ((4096, 400), (4097, 413), (MIB, 413)):
        assert_refused(ask(service, "POST", _path(surface), b"a" * size), {status}, v2=surface == "v2")
    _assert_good(ask, service, surface, _good(surface))


# What an element of an FP32 tensor must not be.
ELEMENTS = {
    "nan": "NaN",
    "infinity": "Infinity",
    "minus-infinity": "-Infinity",
    "inf": "inf",
    "1e999": "1e999",
    "-1e999": "-1e999",
    "over-fp32": "3.5e38",
    "100000-digits": "9" * 100_000,
    "minus-100000-digits": "-" + "9" * 100_000,
    "hex": "0x10",
    "leading-zero": "01",
    "plus": "+1",
    "point-first": ".5",
    "point-last": "1.",
    "underscore": "1_0",
    "two-minus": "--1",
    "true": "true",
    "null": "null",
    "string": '"1"',
    "empty-string": '""',
    "object": "{}",
    "list": "[1]",
    "empty-list": "[]",
    "missing": "",
    "python": "None",
}


@SURFACES
@pytest.mark.parametrize("name", ELEMENTS)
def test_an_element_that_is_no_fp32_is_refused(
    surface: str, name: str, served: Served, ask: Ask, assert_refused: AssertRefused
) -> None:
    """Nothing is converted, wrapped or made infinite."""
    service = served("tiny")
    answer = ask(service, "POST", _path(surface), _good(surface, ELEMENTS[name]))
    assert_refused(answer, {400}, v2=surface == "v2")
    _assert_good(ask, service, surface, _good(surface))


@SURFACES
@pytest.mark.parametrize(
    ("element", "answer"),
    [("-0", 1.0), ("-0.0", 1.0), ("1e-999", 1.0), ("1E+2", 101.0), ("16777216", 16777216.0), ("1.0", 2.0), ("-1", 0.0)],
)
def test_a_sound_number_is_taken(surface: str, element: str, answer: float, served: Served, ask: Ask) -> None:
    """Whole and broken numbers alike, rounded to the nearest FP32."""
    _assert_good(ask, served("tiny"), surface, _good(surface, element), answer)


# What must not stand where the lists of a tensor stand.
DATA = {
    "null": "null",
    "number": "1",
    "string": '"1234"',
    "object": '{"0":1}',
    "empty": "[]",
    "empty-row": "[[]]",
    "too-deep": "[[[1,2,3,4]]]",
    "ragged": "[[1,2,3,4],[1,2,3]]",
    "ragged-in-depth": "[[1,2,3,4],1]",
    "mixed": "[1,[2,3,4]]",
    "too-many-columns": "[[1,2,3,4,5]]",
    "object-in-list": "[{}]",
    "million-lists": "[" + "[1]," * 999_999 + "[1]]",
    "million-empty-lists": "[" + "[]," * 999_999 + "[]]",
    "depth-500": "[" * 500 + "1" + "]" * 500,
    "base64": '"AACAPwAAAEAAAEBAAACAQA=="',
    "base64-object": '{"b64":"AACAPwAAAEAAAEBAAACAQA=="}',
}


@SURFACES
@pytest.mark.parametrize("name", DATA)
def test_data_of_another_form_is_refused(
    surface: str, name: str, served: Served, ask: Ask, assert_refused: AssertRefused
) -> None:
    """Only lists, nested as the shape says."""
    service = served("tiny")
    body = _good(surface).replace("[[1,2,3,4]]", DATA[name])
    assert_refused(ask(service, "POST", _path(surface), body), {400}, v2=surface == "v2")
    _assert_good(ask, service, surface, _good(surface))


# Fields beside the inputs: (more, refused by /v2, refused by /v1).
FIELDS = {
    "id-number": (',"id":5', True, True),
    "id-list": (',"id":[]', True, True),
    "id-object": (',"id":{}', True, True),
    "id-true": (',"id":true', True, True),
    "id-1-mib": (',"id":"' + "i" * MIB + '"', False, True),
    "id-with-crlf": (',"id":"a\\r\\nX-Forged: 1\\r\\n\\r\\n"', False, False),
    "id-with-nul": (',"id":"\\u0000"', False, False),
    "unknown-field": (',"other":1', False, True),
    "proto": (',"__proto__":{"admin":true}', False, True),
    "class": (',"__class__":"os.system"', False, True),
    "unknown-field-depth-50": (',"other":' + "[" * 50 + "]" * 50, False, True),
    "unknown-field-depth-101": (',"other":' + "[" * 101 + "]" * 101, False, True),
    "parameters-null": (',"parameters":null', False, False),
    "parameters-empty": (',"parameters":{}', False, False),
    "parameters-list": (',"parameters":[]', True, True),
    "parameters-string": (',"parameters":"timeout"', True, True),
    "parameter-null": (',"parameters":{"a":null}', True, True),
    "parameter-list": (',"parameters":{"a":[1]}', True, True),
    "parameter-object": (',"parameters":{"headers":{}}', True, True),
    "parameters-100000": (',"parameters":{' + ",".join(f'"p{i}":{i}' for i in range(100_000)) + "}", False, True),
    "sequence-id": (',"parameters":{"sequence_id":7,"sequence_start":true,"sequence_end":false}', False, True),
    "priority": (',"parameters":{"priority":1}', False, True),
    "reserved": (',"parameters":{"triton_enable_empty_final_response":true}', True, True),
    "binary-output-as-text": (',"parameters":{"binary_data_output":"true"}', True, True),
    "binary-output-as-number": (',"parameters":{"binary_data_output":1}', True, True),
    "timeout-negative": (',"parameters":{"timeout":-1}', True, True),
    "timeout-fraction": (',"parameters":{"timeout":1.5}', True, True),
    "timeout-text": (',"parameters":{"timeout":"1"}', True, True),
    "timeout-true": (',"parameters":{"timeout":true}', True, True),
    "timeout-2^64": (',"parameters":{"timeout":18446744073709551616}', True, True),
    "timeout-2^63": (',"parameters":{"timeout":9223372036854775808}', True, True),
    "timeout-zero": (',"parameters":{"timeout":0}', False, False),
    "timeout-large": (',"parameters":{"timeout":3600000000}', False, False),
    "outputs-null": (',"outputs":null', False, False),
    "outputs-object": (',"outputs":{}', True, True),
    "outputs-string": (',"outputs":"y"', True, True),
    "outputs-numbers": (',"outputs":[1]', True, True),
    "outputs-nulls": (',"outputs":[null]', True, True),
    "outputs-nested": (',"outputs":[["y"]]', True, True),
    "inputs-twice-and-the-last-is-empty": (',"inputs":[]', True, True),
}


@SURFACES
@pytest.mark.parametrize("name", FIELDS)
def test_a_field_beside_the_inputs_is_checked_or_ignored(
    surface: str, name: str, served: Served, ask: Ask, assert_refused: AssertRefused
) -> None:
    """`/v2` ignores what it does not know, as the protocol has it; `/v1` refuses it."""
    more, *refused = FIELDS[name]
    service = served("tiny")
    body = _good(surface, more=more)
    if refused[surface == "v1"]:
        answer = ask(service, "POST", _path(surface), body)
        assert_refused(answer, {400}, v2=surface == "v2")
        _assert_good(ask, service, surface, _good(surface))
    else:
        _assert_good(ask, service, surface, body)


@SURFACES
def test_the_id_is_given_back_and_forges_no_header(surface: str, served: Served, ask: Ask) -> None:
    """Whatever characters it has."""
    for identifier in ("a", "ü\u2028\u202e", "a\r\nX-Forged: 1\r\n\r\nHTTP/1.1 200 OK", '"}\\', "\x1b[31m", "\x00"):
        body: dict[str, Any] = {"id": identifier, "inputs": {"x": [[1, 2, 3, 4]]}}
        if surface == "v2":
            body["inputs"] = [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]
        answer = ask(served("tiny"), "POST", _path(surface), body)
        assert answer.json["id"] == identifier
        assert "x-forged" not in answer.headers


# Elements of INT64 ids, refused; the model itself would take any number below 100.
WHOLE_NUMBERS = {
    "fraction": "0.1",
    "small-exponent": "1e-1",
    "exponent-over-int64": "1e19",
    "nearly-whole": "1.0000000000000002",
    "true": "true",
    "string": '"1"',
    "null": "null",
    "2^63": "9223372036854775808",
    "-2^63-1": "-9223372036854775809",
    "2^64": "18446744073709551616",
    "100000-digits": "1" * 100_000,
    "out-of-the-vocabulary": "100",
    "minus-101": "-101",
    "2^63-1": "9223372036854775807",
    "-2^63": "-9223372036854775808",
}


@SURFACES
@pytest.mark.parametrize("name", WHOLE_NUMBERS)
def test_an_element_that_is_no_token_id_is_refused(
    surface: str, name: str, served: Served, ask: Ask, assert_refused: AssertRefused
) -> None:
    """Not by its type, or not by the model, whose own words stay in the log."""
    service = served("text")
    answer = ask(service, "POST", _path(surface, "text"), _ids(surface, WHOLE_NUMBERS[name]))
    assert_refused(answer, {400}, v2=surface == "v2")
    for whole in ("99", "99.0", "0.99e2"):
        assert ask(service, "POST", _path(surface, "text"), _ids(surface, whole)).status == 200


def _ids(surface: str, element: str) -> str:
    if surface == "v1":
        return f'{{"inputs":{{"input_ids":[[{element},2]],"attention_mask":[[1,1]]}}}}'
    return (
        f'{{"inputs":[{{"name":"input_ids","datatype":"INT64","shape":[1,2],"data":[{element},2]}},'
        '{"name":"attention_mask","datatype":"INT64","shape":[1,2],"data":[1,1]}]}'
    )


@SURFACES
@pytest.mark.parametrize(
    "element", ["1", "null", "true", "{}", "[]", '"\\ud800"', '"\\ud800\\u0041"', '"a', "'a'"], ids=ascii
)
def test_an_element_that_is_no_text_is_refused(
    surface: str, element: str, served: Served, ask: Ask, assert_refused: AssertRefused
) -> None:
    """Text must be a string of sound Unicode."""
    service = served("strings")
    answer = ask(service, "POST", _path(surface, "strings"), _word(surface, element))
    assert_refused(answer, {400}, v2=surface == "v2")
    assert ask(service, "POST", _path(surface, "strings"), _word(surface, '"beta"')).status == 200


TEXTS = ("", "beta", "a\x00b", "\x00", "é", "\u202e", "😀", "a" * MIB)


@SURFACES
@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:9]))
@pytest.mark.parametrize("escaped", [True, False], ids=["escaped", "plain"])
def test_any_sound_text_comes_back_as_it_was(surface: str, text: str, escaped: bool, served: Served, ask: Ask) -> None:
    """NUL characters, other planes and a megabyte included."""
    element = json.dumps(text, ensure_ascii=escaped)
    answer = ask(served("strings"), "POST", _path(surface, "strings"), _word(surface, element).encode())
    assert answer.status == 200, answer.body
    outputs = answer.json["outputs"]
    assert text == (outputs[1]["data"][0] if surface == "v2" else outputs["echo"][0][0])


def _word(surface: str, element: str) -> str:
    if surface == "v1":
        return f'{{"inputs":{{"word":[[{element}]]}}}}'
    return f'{{"inputs":[{{"name":"word","datatype":"BYTES","shape":[1,1],"data":[{element}]}}]}}'
