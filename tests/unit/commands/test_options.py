"""Values that options take."""

from __future__ import annotations

from typing import Any

import click
import pytest

from nimify.commands.options import byte_size, seconds
from nimify.commands.steps import step


@pytest.mark.parametrize(
    ("text", "size"),
    [("1048576", 1 << 20), ("64MiB", 64 << 20), ("64 mib", 64 << 20), ("1.5GB", 1_500_000_000), ("2k", 2048)],
)
def test_sizes(text: str, size: int) -> None:
    """A size is bytes, or a number with a unit."""
    assert byte_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1e9", "64 parsecs", "9" * 40, "٣"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    """The error shows how to write one."""
    with pytest.raises(click.BadParameter, match="64MiB"):
        byte_size(text)


@pytest.mark.parametrize(("text", "value"), [("30", 30.0), ("1.5s", 1.5), ("200ms", 0.2), ("2m", 120.0), ("1h", 3600)])
def test_durations(text: str, value: float) -> None:
    """A duration is seconds, or a number with a unit."""
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "soon", "-1", "inf", "nan", "1e3"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    """The error shows how to write one."""
    with pytest.raises(click.BadParameter, match="200ms"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "use", "options"),
    [
        ("softmax", "softmax", {}),
        ("scale:factor=0.0625", "scale", {"factor": 0.0625}),
        ("top_k:k=3,labels=labels.txt", "top_k", {"k": 3, "labels": "labels.txt"}),
        ("scale:factor=[0.5, 0.25],tensor=x", "scale", {"factor": [0.5, 0.25], "tensor": "x"}),
        ("x:name='a,b',flag=true,nothing=null", "x", {"name": "a,b", "flag": True, "nothing": None}),
        ("own.py:make", "own.py:make", {}),
        ("a/own.py:make:size=2,title=a:b", "a/own.py:make", {"size": 2, "title": "a:b"}),
        ("x:url=http://example.org/a=b", "x", {"url": "http://example.org/a=b"}),
        ("x:empty=", "x", {"empty": ""}),
    ],
)
def test_steps(text: str, use: str, options: dict[str, Any]) -> None:
    """A step is a processor and its options, whose values are YAML."""
    assert step(text) == {"use": use, "options": options}


@pytest.mark.parametrize("text", ["", ":k=1", "top_k:k", "top_k:=3", "top_k:k=[1", "x:a=!!python/name:os.system"])
def test_what_is_no_step_is_refused(text: str) -> None:
    """The error is a usage error, whatever the text."""
    with pytest.raises(click.BadParameter):
        step(text)
