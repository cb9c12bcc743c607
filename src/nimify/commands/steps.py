"""The short form of a processor on the command line: `scale:factor=0.0625`, `file.py:name:option=1`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

_OPENING: Final = "[{"
_CLOSING: Final = "]}"
_QUOTES: Final = "'\""


def step(text: str) -> dict[str, Any]:
    """A processor and its options, as nimify.yaml has them in the long form.

    Values are YAML scalars, or lists in brackets.

    Raises:
        click.BadParameter: It names no processor, or an option has no value.
    """
    use, _, options = _head(text)
    if not use:
        raise click.BadParameter(f"'{text}' names no processor. Write NAME, or NAME:OPTION=VALUE,OPTION=VALUE.")
    return {"use": use, "options": dict(_option(item) for item in _items(options))}


def _option(item: str) -> tuple[str, Any]:
    from nimify.config import parse_yaml
    from nimify.errors import ConfigError

    name, equals, text = item.partition("=")
    if not equals or not name.strip():
        raise click.BadParameter(f"'{item}' is not OPTION=VALUE.")
    try:
        return name.strip(), parse_yaml(text, source=name) if text.strip() else ""
    except ConfigError:
        raise click.BadParameter(f"the value of '{name.strip()}' cannot be read: '{text}'.") from None


def _head(text: str) -> tuple[str, str, str]:
    """The processor and its options; the name of the owner's own has a colon in itself."""
    file, colon, rest = text.partition(".py:")
    if not colon:
        return text.partition(":")
    name, separator, options = rest.partition(":")
    return f"{file}.py:{name}", separator, options


def _items(text: str) -> Iterator[str]:
    """The parts between commas, except commas in brackets or quotes."""
    depth, quote, item = 0, "", ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES:
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif character == "," and depth == 0:
            yield item
            item = ""
            continue
        item += character
    if item:
        yield item
