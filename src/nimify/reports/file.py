"""A page on disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from nimify.errors import EnvironmentProblem

_FILE_MODE: Final = 0o644


def write_page(html: str, path: Path) -> None:
    """Write a page, as a whole or not at all.

    Raises:
        EnvironmentProblem: It cannot be written there.
    """
    try:
        _replace(path, html.encode())
    except OSError as error:
        raise EnvironmentProblem(
            f"The report cannot be written to '{path}' ({error.strerror}).", remedy="Choose another file with --report."
        ) from error


def _replace(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    new = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        new.chmod(_FILE_MODE)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
