"""What the cluster changed on this machine, noted before each change so that it can be taken back after a crash."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Journal:
    """A file of JSON lines, each `[kind, ...]`, the oldest first.

    Attributes:
        path: The file.
    """

    path: Path

    def note(self, kind: str, *details: Any) -> None:
        """Write an entry, durably."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([kind, *details]) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def entries(self, kind: str) -> list[list[Any]]:
        """The details of the entries of a kind, the newest first; a half-written line is none."""
        found = []
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        for line in text.splitlines():
            try:
                name, *details = json.loads(line)
            except ValueError:
                continue
            if name == kind:
                found.append(details)
        return found[::-1]
