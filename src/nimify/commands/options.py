"""Options that several commands share, and the kinds of values that options take."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from nimify.commands.console import Console

Command = TypeVar("Command", bound=Callable[..., Any])

_SIZE: Final = re.compile(r"(?P<number>[0-9]{1,15}(?:\.[0-9]{1,3})?)\s*(?P<unit>[a-z]*)", re.IGNORECASE)
_UNITS: Final = {
    "": 1, "b": 1,
    "k": 1 << 10, "kib": 1 << 10, "kb": 10**3,
    "m": 1 << 20, "mib": 1 << 20, "mb": 10**6,
    "g": 1 << 30, "gib": 1 << 30, "gb": 10**9,
}  # fmt: skip
_LENGTH: Final = re.compile(r"[1-9][0-9]{0,6}")
_DURATION: Final = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(?P<unit>ms|s|m|min|h|)", re.IGNORECASE)
_SECONDS: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def byte_size(text: str) -> int:
    """A number of bytes, with a unit if one likes: `1048576`, `64MiB`, `1.5GB`.

    Raises:
        click.BadParameter: It is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or match["unit"].lower() not in _UNITS:
        raise click.BadParameter(f"'{text}' is not a size. Write bytes, or a size such as 64MiB or 1.5GB.")
    return int(float(match["number"]) * _UNITS[match["unit"].lower()])


def seconds(text: str) -> float:
    """A duration: `30`, `1.5s`, `200ms`, `2m`.

    Raises:
        click.BadParameter: It is no duration.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise click.BadParameter(f"'{text}' is not a duration. Write seconds, or a duration such as 200ms or 2m.")
    return float(match["number"]) * _SECONDS[match["unit"].lower()]


def axis_length(text: str) -> tuple[str, int]:
    """The length of a free axis: `sequence=256`.

    Raises:
        click.BadParameter: It is none.
    """
    name, equals, length = text.rpartition("=")
    if not (
        equals and name and length.isascii() and length.isdigit() and len(length) < 8 and 0 < int(length) <= 1 << 20
    ):
        raise click.BadParameter(f"'{text}' is not the length of an axis. Write NAME=LENGTH, e.g. sequence=256.")
    return name, int(length)


def setting(text: str) -> tuple[str, str]:
    """A setting and its value: `port=8080`.

    Raises:
        click.BadParameter: It is none.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise click.BadParameter(f"'{text}' is not a setting. Write NAME=VALUE, e.g. port=8080.")
    return name.strip(), value


MODEL: Final = click.Path(path_type=Path, readable=False)
"""A path that the analysis judges itself: its errors say more than Click's."""
FILE: Final = click.Path(path_type=Path, readable=False)
"""A path that is judged where it is read, for the same reason."""


def json_option(command: Command) -> Command:
    """`--json`: results as one JSON document, errors as well."""
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_set("json"),
        help='Print one JSON document instead of text; for an error it is {"error": {...}}.',
    )(command)


def quiet_option(command: Command) -> Command:
    """`--quiet`: no talk on standard error."""
    return click.option(
        "-q",
        "--quiet",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_set("quiet"),
        help="Say nothing but the result and errors.",
    )(command)


def _set(attribute: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value and isinstance(context.obj, Console):
            setattr(context.obj, attribute, True)

    return remember


API_KEY_VARIABLE: Final = "NIMIFY_API_KEY"
"""Of the environment: a key that a service accepts, for who has no file of it."""


def api_key_option(command: Command) -> Command:
    """`--api-key-file`: a key for a service that wants one, which never stands on a command line."""
    return click.option(
        "--api-key-file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help=f"A key that the service accepts, where it wants one.  [environment: {API_KEY_VARIABLE}]",
    )(command)


def api_key_header(file: Path | None) -> Mapping[str, str]:
    """The header that shows the key; none when there is none.

    Raises:
        ConfigError: The file cannot be read, or holds no key.
    """
    from nimify.conformance.authorization import authorization

    return authorization(file, API_KEY_VARIABLE, field="--api-key-file")
