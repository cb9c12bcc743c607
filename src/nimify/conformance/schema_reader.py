"""Asks the child process that holds files against schemas, and reads its answer."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nimify.conformance.readers import NoAnswer, ask, reason
from nimify.errors import one_line, shortened

_TIMEOUT_S: Final = 60.0
# -P: the folder in which the child works must not be searched for modules.
_COMMAND: Final = (sys.executable, "-P", "-m", "nimify.conformance.schemas")


@dataclass(frozen=True, slots=True)
class Reading:
    """How files keep to their schemas.

    Attributes:
        problem: What is wrong, in one line; `None` when nothing is.
        read: How many documents have a schema, and keep to it.
        unread: Kinds of documents that there is no schema for.
    """

    problem: str | None
    read: int = 0
    unread: tuple[str, ...] = ()


def read_against_schema(what: str, *arguments: str, folder: Path, timeout_s: float = _TIMEOUT_S) -> Reading:
    """Hold files against a schema in a process of its own.

    Args:
        what: `values` or `kubernetes`.
        arguments: The files, relative to the folder, and what else that reading wants.
        folder: Where they lie.
        timeout_s: How long it may take.
    """
    try:
        answer = ask([*_COMMAND, what, *arguments], folder=folder, timeout_s=timeout_s)
    except NoAnswer as error:
        return Reading(f"reading it failed: {error}")
    try:
        found = answer.document()
        problem = found["problem"]
        return Reading(
            problem if problem is None else shortened(one_line(str(problem)), 240),
            int(found["read"]),
            tuple(map(str, found["unread"])),
        )
    except (ValueError, KeyError, TypeError):
        return Reading(f"reading it failed: {reason(answer, answer.words[-1:])}")
