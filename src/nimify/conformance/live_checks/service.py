"""What the checks of a live service know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nimify.artifacts.golden import Golden
from nimify.conformance.client import Answer, Client
from nimify.errors import one_line, shortened
from nimify.serving.spec import ServiceSpec


@dataclass(frozen=True, slots=True)
class LiveService:
    """A service under test.

    Attributes:
        client: How to ask it.
        bundle: Folder of the bundle that it should serve.
        spec: What the bundle says of it.
        golden: The bundle's golden requests; `None` when it has none.
    """

    client: Client
    bundle: Path
    spec: ServiceSpec
    golden: Golden | None


def status_problem(path: str, answer: Answer, expected: int) -> str | None:
    """Why an answer has the wrong status, in one sentence; `None` when it has the right one."""
    if answer.status == expected:
        return None
    said = shortened(one_line(answer.body[:400].decode("utf-8", "replace")), 160)
    return f"{path} answered {answer.status} instead of {expected}" + (f": {said}" if said else ".")


def lacking(path: str, body: Any, expected: Mapping[str, Any]) -> str | None:
    """The first of `expected` that a JSON object does not have, in one sentence; `None` when it has all.

    An expected value that is a type asks for any value of that type.
    """
    if not isinstance(body, dict):
        return f"{path} answered no JSON object."
    for key, value in expected.items():
        if key not in body:
            return f"{path} answered without '{key}'."
        found = body[key]
        good = isinstance(found, value) if isinstance(value, type) else found == value
        if not good:
            wanted = value.__name__ if isinstance(value, type) else repr(value)
            return f"{path} answered '{key}' as {shortened(one_line(repr(found)), 80)} instead of {wanted}."
    return None
