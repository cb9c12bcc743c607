"""What a service is shown to be let in: from a file or the environment, and never from a command line or in a log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nimify.errors import ConfigError
from nimify.serving.api_keys import read_keys

_LONGEST: Final = 16 << 10


def authorization(file: Path | None, variable: str, *, field: str) -> Mapping[str, str]:
    """The header that lets in; none when there is neither a file nor a variable.

    Args:
        file: The first line of it that is neither empty nor a comment counts: a key, which becomes `Bearer KEY`, or
            the whole value of the header, such as `Basic dXNlcjpwYXNz`.
        variable: Of the environment, which says the same where there is no file.
        field: What the file was given as, for messages.

    Raises:
        ConfigError: The file cannot be read, or holds nothing that could be sent. Nothing of it is in the message.
    """
    if file is not None:
        return {"Authorization": _value(_first_line(file, field), f"{field} {file}")}
    given = os.environ.get(variable, "").strip()
    return {"Authorization": _value(given, variable)} if given else {}


def key_in(path: Path) -> Mapping[str, str]:
    """The header with one of the keys that a service accepts, out of the file or folder that it has them from.

    Raises:
        ConfigError: It holds none, or cannot be read.
    """
    return {"Authorization": f"Bearer {min(read_keys(path)).decode('ascii')}"}


def _first_line(file: Path, field: str) -> str:
    try:
        with file.open("rb") as stream:
            text = stream.read(_LONGEST).decode("utf-8", "replace")
    except OSError as error:
        raise ConfigError(f"cannot read '{file}' ({error.strerror}).", field=field) from error
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")


def _value(secret: str, source: str) -> str:
    if not (secret and secret.isascii() and secret.isprintable()):
        raise ConfigError(
            "holds no key that could be sent.",
            field=source,
            remedy="Write the key alone into it, or the whole value of the header: Basic BASE64.",
        )
    return secret if " " in secret else f"Bearer {secret}"
