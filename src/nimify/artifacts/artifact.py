"""`Artifact`: one generated file, before it is on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Artifact:
    """A generated file.

    Attributes:
        path: Where it goes, relative to the bundle, with forward slashes.
        content: Its bytes.
        owned_by_user: The owner may edit it (nimify.yaml): its changes are no drift.
    """

    path: str
    content: bytes
    owned_by_user: bool = False


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """A file that is copied (or linked) into the bundle without being read into memory.

    Attributes:
        path: Where it goes, relative to the bundle.
        source: The file to copy.
        sha256: The hex digest that the copy must have; empty when any content will do.
        size_bytes: The length that the copy must have.
    """

    path: str
    source: Path
    sha256: str
    size_bytes: int


def json_artifact(path: str, data: Any) -> Artifact:
    """Data as an indented, stable JSON file (keys in the order given, ends with a newline).

    A lone surrogate, which stands for a byte of a file name that is no text, is written as a JSON escape.
    """
    return Artifact(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))
