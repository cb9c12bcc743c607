"""Where a table comes from: the package itself, or a folder of the user's own, named by `NIMIFY_TABLES`.

A file in that folder replaces the packaged one of the same name as a whole. So a site can keep its own prices, or
add a release that came after this version of nimify.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeVar

from nimify.errors import ConfigError, shortened

FOLDER_VARIABLE: Final = "NIMIFY_TABLES"
SCHEMA_VERSION: Final = 1
_MAX_BYTES: Final = 16 << 20
_REMEDY: Final = "Copy the file from nimify's own tables and change what you need, or remove it."

T = TypeVar("T")
Row = Mapping[str, Any]


def read_table(name: str) -> dict[str, Any]:
    """A table by its file name: the user's own where there is one, else the packaged one.

    Raises:
        ConfigError: The user's file cannot be read, or is no table of this version.
    """
    own = _own_file(name)
    if own is None:
        return dict(json.loads(files(__package__).joinpath(name).read_text(encoding="utf-8")))
    try:
        if own.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"'{own}' is longer than {_MAX_BYTES} bytes.", field=FOLDER_VARIABLE)
        table = json.loads(own.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        cause = getattr(error, "strerror", None) or "it is not JSON"
        raise ConfigError(f"cannot read '{own}': {cause}.", field=FOLDER_VARIABLE, remedy=_REMEDY) from None
    if not isinstance(table, dict) or table.get("schema_version") != SCHEMA_VERSION:
        raise ConfigError(
            f"'{own}' is not a table of schema version {SCHEMA_VERSION}.", field=FOLDER_VARIABLE, remedy=_REMEDY
        )
    return table


def build_rows(name: str, table: Row, key: str, build: Callable[[Row], T]) -> tuple[T, ...]:
    """The rows under a key, each made into what `build` makes of it.

    Raises:
        ConfigError: There is no such list, or a row lacks a field, has a wrong one or names no source.
    """
    rows = table.get(key)
    if not isinstance(rows, list) or not rows:
        raise ConfigError(f"'{name}' has no rows under '{key}'.", field=FOLDER_VARIABLE, remedy=_REMEDY)
    return tuple(_built(name, key, number, row, build) for number, row in enumerate(rows, 1))


def read_rows(name: str, key: str, build: Callable[[Row], T]) -> tuple[T, ...]:
    """The rows of a table's only list; see `build_rows`."""
    return build_rows(name, read_table(name), key, build)


def _own_file(name: str) -> Path | None:
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise ConfigError(f"'{folder}' is not a folder.", field=FOLDER_VARIABLE, remedy="Name one, or unset it.")
    path = Path(folder) / name
    return path if path.exists() else None


def _built(name: str, key: str, number: int, row: Any, build: Callable[[Row], T]) -> T:
    try:
        if not row["source"]:
            raise ValueError("it names no source")
        return build(row)
    except KeyError as error:
        cause = f"it lacks {error}"
    except (AttributeError, TypeError, ValueError) as error:
        cause = shortened(str(error))
    raise ConfigError(f"'{name}', {key}, row {number}: {cause}.", field=FOLDER_VARIABLE, remedy=_REMEDY)


def version_key(version: str) -> tuple[int, ...]:
    """A dotted version as numbers that compare: `10.14` comes after `10.9`; `11.x` and `11` count as `11.0`.

    Raises:
        ValueError: It does not start with a number.
    """
    numbers: list[int] = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    if not numbers:
        raise ValueError(f"'{shortened(version, 40)}' is not a version")
    return tuple(numbers) if len(numbers) > 1 else (numbers[0], 0)
