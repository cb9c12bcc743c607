"""How a bundle on disk differs from what would be written now: the answer of `create --check`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nimify.artifacts.artifact import Artifact
from nimify.artifacts.bundle import Bundle, fingerprint
from nimify.artifacts.render import Item, digest_of, is_owned
from nimify.errors import one_line

_DIFF_BYTES: Final = 1 << 20
"""Longer files are reported without showing how they differ."""


@dataclass(frozen=True, slots=True)
class Drift:
    """What differs; empty when nothing does.

    Attributes:
        changed: Files with another content than would be written now.
        missing: Files that would be written and are not there.
        obsolete: Files that were written once and would not be now.
        diff: A unified diff of the text files, and a line for every other one.
    """

    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    obsolete: tuple[str, ...] = ()
    diff: str = ""

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.changed or self.missing or self.obsolete)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file that differs, sorted."""
        return tuple(sorted((*self.changed, *self.missing, *self.obsolete)))


def check_bundle(folder: Path, items: Iterable[Item]) -> Drift:
    """Compare a bundle with what would be written now; writes nothing.

    The owner's own files, nimify.yaml among them, are no drift.

    Raises:
        BundleError: The folder is no bundle.
        BundleDamaged: A file of it cannot be read.
    """
    bundle = Bundle.open(folder)
    generated = {item.path: item for item in items if not is_owned(item)}
    changed: list[str] = []
    missing: list[str] = []
    diff: list[str] = []
    for path, item in sorted(generated.items()):
        wanted = digest_of(item)
        found = fingerprint(folder / path, wanted.size_bytes)
        if found == wanted:
            continue
        (missing if found is None else changed).append(path)
        diff.append(_diff(folder / path, item))
    obsolete = [path for path in sorted(bundle.manifest.files) if path not in generated and (folder / path).exists()]
    diff += [f"Only in the bundle: {one_line(path)}\n" for path in obsolete]
    return Drift(tuple(changed), tuple(missing), tuple(obsolete), "".join(diff))


def _diff(path: Path, item: Item) -> str:
    name = one_line(item.path)
    old = _text(path.read_bytes()) if path.exists() and path.stat().st_size <= _DIFF_BYTES else None
    new = _text(item.content) if isinstance(item, Artifact) and len(item.content) <= _DIFF_BYTES else None
    if not path.exists():
        return f"Missing in the bundle: {name}\n"
    if old is None or new is None:
        return f"Files differ: {name}\n"
    lines = difflib.unified_diff(old, new, f"bundle/{name}", f"generated/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _text(content: bytes) -> list[str] | None:
    try:
        return content.decode().splitlines(keepends=True)
    except UnicodeDecodeError:
        return None
