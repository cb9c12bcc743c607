"""A page on disk."""

from __future__ import annotations

from pathlib import Path

from nimify.errors import EnvironmentProblem
from nimify.filesystem import replace_file


def write_page(html: str, path: Path) -> None:
    """Write a page, as a whole or not at all.

    Raises:
        EnvironmentProblem: It cannot be written there.
    """
    try:
        replace_file(path, html.encode())
    except OSError as error:
        raise EnvironmentProblem(
            f"The report cannot be written to '{path}' ({error.strerror}).", remedy="Choose another file with --report."
        ) from error
