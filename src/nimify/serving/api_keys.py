"""API keys on disk: a file with one key a line, or a folder of such files, as a mounted Secret is.

Empty lines and lines that begin with `#` are left out. In a folder, names that begin with a dot are, too: a mounted
Secret keeps its versions there and links to the current one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nimify.errors import ConfigError
from nimify.serving.access import HEALTH_TARGETS, KeyAccess, KeyDigests
from nimify.serving.logs import Log
from nimify.serving.watch import Stamped

_FIELD: Final = "API keys"
_MIN_LENGTH: Final = 16
"""Shorter ones can be guessed."""
_KEY: Final = re.compile(rb"[!-~]{%d,4096}" % _MIN_LENGTH)
_MAX_BYTES: Final = 1 << 20
_HINT: Final = "Make a key with: openssl rand -hex 32"


def read_keys(path: Path) -> frozenset[bytes]:
    """The keys of a file or folder.

    Raises:
        ConfigError: There is none, one is too short or malformed, or a file cannot be read. Names file and line, and
            never the key.
    """
    try:
        keys = {key for file in key_files(path) for key in _keys_of(file)}
    except OSError as error:
        raise ConfigError(f"'{error.filename or path}' cannot be read ({error.strerror}).", field=_FIELD) from error
    if not keys:
        # An empty file must not mean that everybody may ask, nor silently that nobody may.
        raise ConfigError(f"'{path}' holds no key.", field=_FIELD, remedy=_HINT)
    return frozenset(keys)


def key_files(path: Path) -> list[Path]:
    """The files that `path` stands for, in a stable order.

    Raises:
        OSError: It cannot be read.
    """
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if not file.name.startswith(".") and file.is_file())


def _keys_of(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"'{file}' is longer than {_MAX_BYTES} bytes; is it a file of keys?", field=_FIELD)
    for number, line in enumerate(content.splitlines(), start=1):
        key = line.strip()
        if not key or key.startswith(b"#"):
            continue
        if not _KEY.fullmatch(key):
            raise ConfigError(
                f"line {number} of '{file}' is no key: {_MIN_LENGTH} or more letters, digits and signs.",
                field=_FIELD,
                remedy=_HINT,
            )
        yield key


class RotatedKeys:
    """Keeps a gate's keys as the file or folder has them.

    A change that leaves no good key behind is logged and changes nothing: a file caught half written must not lock
    everybody out, and never lets anybody in.

    Args:
        path: The file or folder.
        open_health: Whether what orchestrators ask is answered without a key.
        health_route: What the platform asks besides; empty for nothing.

    Attributes:
        access: The gate.

    Raises:
        ConfigError: See `read_keys`.
    """

    def __init__(self, path: Path, *, open_health: bool, health_route: str = "", log: Log) -> None:
        self._path = path
        self._log = log
        self._stamped = Stamped(self._files)
        targets = HEALTH_TARGETS | ({health_route.encode()} if health_route else frozenset())
        self.access = KeyAccess(KeyDigests(read_keys(path)), open_targets=targets if open_health else frozenset())

    def refresh(self) -> None:
        """Read the keys again if their files have changed."""
        if not self._stamped.changed():
            return
        try:
            keys = read_keys(self._path)
        except ConfigError as error:
            self._log.error("the API keys were changed and cannot be used; the old ones stay", reason=str(error))
            return
        self.access.keys = KeyDigests(keys)
        self._log.info("API keys changed", keys=len(keys))

    def _files(self) -> list[Path]:
        try:
            return key_files(self._path)
        except OSError:
            return [self._path]
