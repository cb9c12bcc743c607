"""Long arrays read piece by piece: the same numbers, and the same refusals, as when a document is read as a whole."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import orjson
import pytest

from nimify.serving.faults import RequestFault
from nimify.serving.json_tensors import array_from_list
from nimify.serving.long_arrays import LONG, LongArrays, json_pieces
from nimify.serving.open_inference import decode_tensors, parse_object, split, split_long
from nimify.tensors import DATATYPES


def message(data: str, shape: list[int], datatype: str = "FP32", extra: str = "") -> bytes:
    return (
        f'{{{extra}"inputs":[{{"name":"x","datatype":"{datatype}","shape":{shape},"data":{data}}}],"id":"after"}}'
    ).encode()


def read_whole(body: bytes) -> Any:
    fields, raw = split(body, None)
    return decode_tensors(fields["inputs"], raw, key="inputs")[0]["x"]


def read_in_pieces(body: bytes) -> Any:
    arrays, fields, raw = split_long(body, None)
    return decode_tensors(fields["inputs"], raw, key="inputs", long_arrays=arrays)[0]["x"]


def nested(values: list[Any], shape: tuple[int, ...]) -> Any:
    if len(shape) == 1:
        return values
    step = len(values) // shape[0]
    return [nested(values[start : start + step], shape[1:]) for start in range(0, len(values), step)]


SHAPES = [
    (5000,),
    (1, 5000),
    (5000, 1),
    (50, 100),
    (2, 50, 50),
    (1, 1, 5000),
    (5, 1, 1000),
    (10, 10, 10, 5),
    (5000, 1, 1),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("form", ["flat", "nested"])
def test_the_numbers_are_the_same(shape: tuple[int, ...], indent: int | None, form: str) -> None:
    """In every shape, flat or nested, with blanks or without; what stands around them is left alone."""
    drawn = random.Random(str(shape))
    values = [drawn.choice([drawn.random(), drawn.randint(-99, 99), drawn.random() * 1e-30]) for _ in range(5000)]
    data = json.dumps(nested(values, shape) if form == "nested" else values, indent=indent)
    body = message(data, list(shape), extra='"note":"[1,2,3]\\"[","parameters":{"a":1},')
    arrays = LongArrays(body)
    assert len(arrays.skeleton) < 1000
    assert parse_object(arrays.skeleton)["note"] == '[1,2,3]"['
    np.testing.assert_array_equal(read_in_pieces(body), read_whole(body))


@pytest.mark.parametrize("datatype", ["BOOL", "INT8", "UINT64", "INT64", "FP16", "FP64", "BF16"])
def test_every_datatype_of_numbers_is_read(datatype: str) -> None:
    """Booleans, too."""
    values = [True, False] * 2500 if datatype == "BOOL" else [number % 100 for number in range(5000)]
    body = message(json.dumps(values), [5000], datatype)
    found = read_in_pieces(body)
    assert found.dtype == DATATYPES[datatype].storage
    np.testing.assert_array_equal(found, read_whole(body))


LONG_NUMBERS = ",".join(["1.5"] * 3000)
ODD = {
    "trailing-comma": f"[{LONG_NUMBERS},]",
    "leading-comma": f"[,{LONG_NUMBERS}]",
    "two-commas": f"[{LONG_NUMBERS},,{LONG_NUMBERS}]",
    "no-comma": f"[{LONG_NUMBERS} {LONG_NUMBERS}]",
    "glued-by-brackets": f"[[{LONG_NUMBERS}],[{LONG_NUMBERS}]5]",
    "number-before-list": f"[5[{LONG_NUMBERS}],[{LONG_NUMBERS}]]",
    "brackets-instead-of-comma": f"[[{LONG_NUMBERS}][{LONG_NUMBERS}]]",
    "ragged": f"[[{LONG_NUMBERS}],[{LONG_NUMBERS},1]]",
    "ragged-depth": f"[[{LONG_NUMBERS}],{LONG_NUMBERS}]",
    "list-too-much": f"[[{LONG_NUMBERS}],[]]",
    "unclosed": f"[[{LONG_NUMBERS}]",
    "closed-twice": f"[{LONG_NUMBERS}]]",
    "bad-number": f"[{LONG_NUMBERS},1.5.5]",
    "bad-word": f"[{LONG_NUMBERS},tru]",
    "null": f"[{LONG_NUMBERS},null]",
    "boolean": f"[{LONG_NUMBERS},true]",
    "leading-zero": f"[{LONG_NUMBERS},01]",
    "plus": f"[{LONG_NUMBERS},+1]",
    "too-large": f"[{LONG_NUMBERS},1e999]",
    "too-large-for-fp32": f"[{LONG_NUMBERS},1e39]",
    "long-number": f"[{LONG_NUMBERS},{'1' * 200_000}]",
    "text-in-between": f'[{LONG_NUMBERS},"x"]',
    "object-in-between": f"[{LONG_NUMBERS},{{}}]",
    "blanks": f"[{' ' * 5000}]",
    "only-brackets": "[" * 3000 + "]" * 3000,
    "one-too-few": f"[{LONG_NUMBERS}]",
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("shape", [[3001], [2, 3000], [6000]])
def test_what_is_odd_is_refused_in_both_ways(name: str, shape: list[int]) -> None:
    """Nothing is read in pieces that would not be read as a whole."""
    body = message(ODD[name], shape)
    for read in (read_whole, read_in_pieces):
        with pytest.raises(RequestFault):
            read(body)


def test_a_cut_fits_nowhere_else() -> None:
    """A long array where none belongs is refused, as it is when it is short."""
    data = f"[{LONG_NUMBERS}]"
    for field in ("id", "parameters"):
        arrays = LongArrays(f'{{"{field}":{data}}}'.encode())
        assert type(parse_object(arrays.skeleton)[field]) is dict
    name = LongArrays(f'{{"inputs":[{{"name":{data}}}]}}'.encode())
    with pytest.raises(RequestFault, match="needs a 'name'"):
        decode_tensors(parse_object(name.skeleton)["inputs"], memoryview(b""), key="inputs", long_arrays=name)


def test_an_object_of_the_client_is_no_cut() -> None:
    """Whatever he writes: he cannot know what stands for one."""
    arrays = LongArrays(message(f"[{LONG_NUMBERS}]", [3000]))
    sent: tuple[Any, ...] = ({"": 0}, {"0" * 32: 0}, [], None, "x")
    for data in sent:
        assert arrays.find(data) is None


@pytest.mark.parametrize(
    "text",
    [b'{"a":"' + b'\\"' * 5000 + b'"}', b'{"a":"\\\\","b":[' + b"1," * 4000 + b"1]}", b'"' * 10_001, b"[" * 100_000,
     b'["' * 50_000, b"[1]," * 50_000, b'{"a":["' + b"[1," * 5000 + b'"]}'],
)  # fmt: skip
def test_strings_are_stepped_over(text: bytes) -> None:
    """Escaped quotes and backslashes included: what is cut is no part of a string, and nothing is lost."""
    arrays = LongArrays(text)
    try:
        expected = orjson.loads(text)
    except orjson.JSONDecodeError:
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(arrays.skeleton)
    else:
        assert orjson.loads(arrays.skeleton).keys() == expected.keys()
        assert (orjson.loads(arrays.skeleton) == expected) == (len(arrays.skeleton) == len(text))


def test_short_arrays_stay() -> None:
    """They cost nothing where they are."""
    body = message(json.dumps(list(range(LONG // 10))), [LONG // 10])
    assert LongArrays(body).skeleton == body


@pytest.mark.parametrize(
    "shape", [*SHAPES, (0,), (3, 0), (20_000,), (3, 20_000), (20_000, 3), (2, 3, 10_000), (9000, 1)]
)
@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BOOL", "FP16"])
def test_arrays_are_written_as_orjson_writes_them(shape: tuple[int, ...], datatype: str) -> None:
    """To the last byte."""
    values = np.random.default_rng(5).normal(size=shape) * 100
    array = values.astype(DATATYPES[datatype].storage)
    assert b"".join(json_pieces(array)) == orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)


def test_the_plain_path_is_the_reference() -> None:
    """What the comparison above rests on."""
    assert array_from_list([1, 2], DATATYPES["FP32"], (2,), "x").tolist() == [1.0, 2.0]


@pytest.mark.parametrize("inside", ["@" * 9000, f"{LONG_NUMBERS},é", f"{LONG_NUMBERS},+-e,x", "\x00" * 9000])
def test_what_nobody_asks_for_is_looked_at_as_well(inside: str) -> None:
    """A field that means nothing may hold numbers, and no nonsense."""
    message_of_numbers = message("[1.5]", [1], extra=f'"more":[{LONG_NUMBERS}],')
    assert read_in_pieces(message_of_numbers).tolist() == [1.5]
    nonsense = message("[1.5]", [1], extra=f'"more":[{inside}],')
    for read in (read_whole, read_in_pieces):
        with pytest.raises(RequestFault, match="not valid JSON"):
            read(nonsense)


@pytest.mark.parametrize("cut", range(-6, 6))
def test_an_empty_place_is_seen_wherever_a_piece_ends(cut: int) -> None:
    """Between two commas, also where one of them is the last byte that is read together."""
    before = "1," * (16 * 1024 + cut)
    for numbers in (f"[{before},1]", f"[{before} ,1]", f"[{before}{' ' * 40_000},1]", f"[{before}{' ' * 40_000}]"):
        body = message(numbers, [16 * 1024 + cut + 1])
        with pytest.raises(RequestFault, match="not valid JSON"):
            read_in_pieces(body)


@pytest.mark.parametrize(
    "text", [f'{{"a":"[1]","b":[{LONG_NUMBERS}]}}', f'{{"a":[{LONG_NUMBERS}],"b":[[{LONG_NUMBERS}]],"c":[1,{{}}]}}']
)
def test_arrays_are_told_apart_from_what_surrounds_them(text: str) -> None:
    """Objects and strings end them, and are kept."""
    skeleton = LongArrays(text.encode()).skeleton
    assert LONG_NUMBERS.encode() not in skeleton
    assert skeleton.count(b"{") == text.count("{") + text.count(LONG_NUMBERS)
    assert json.loads(skeleton).keys() == json.loads(text).keys()
