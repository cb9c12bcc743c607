"""Settings of targets as they are typed, `port=8080`: read by the fields of a dataclass, refused by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, TypeVar

from nimify.errors import ConfigError
from nimify.serving.api_keys import read_keys

Settings = TypeVar("Settings")


def typed(kind: type[Settings], given: Mapping[str, str], *, target: str) -> dict[str, Any]:
    """What was given, by name, as the fields of a dataclass want it.

    Args:
        kind: The dataclass; its fields are text, whole numbers or numbers.
        given: As it was typed.
        target: Whose settings they are, for the message.

    Raises:
        ConfigError: One is unknown or wrong.
    """
    known = {field.name: _READERS[str(field.type)] for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    return {name: _reader(known, name, target)(name, text) for name, text in given.items()}


def keys_at(path: str) -> str:
    """The place of a file or folder of API keys, wherever a service is started from.

    Raises:
        ConfigError: There are no keys, or they cannot be read.
    """
    place = Path(path).absolute()
    read_keys(place)
    return str(place)


def _reader(known: Mapping[str, Callable[[str, str], Any]], name: str, target: str) -> Callable[[str, str], Any]:
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    raise ConfigError(
        f"the {target} target has no such setting.",
        field=f"--set {name}",
        remedy=f"{hint}It has: {', '.join(known)}.",
    )


def _text(_: str, text: str) -> str:
    return text


def _whole_number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise ConfigError(f"must be a whole number, not '{text}'.", field=f"--set {name}")
    return int(text)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise ConfigError(f"must be a number, not '{text}'.", field=f"--set {name}")
    return value


_READERS: Final[Mapping[str, Callable[[str, str], Any]]] = {"str": _text, "int": _whole_number, "float": _number}
