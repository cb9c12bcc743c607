"""Comments by which a file tells trivy to pass over what it finds in it; trivy obeys them, and says nothing of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_COMMENT: Final = re.compile(rb"(?:trivy|tfsec):\S*ignore:")
_MOST_BYTES: Final = 16 << 20


def ignoring_file(files: Iterable[Path]) -> Path | None:
    """The first of some files that has such a comment, or is too long to be looked through."""
    for file in files:
        with file.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES or _COMMENT.search(content):
            return file
    return None
