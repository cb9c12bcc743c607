"""Does a bundle hold files only, all of which are its own and have an end?

Every check opens files of the bundle by name. In a bundle that has passed through other hands such a name may be a link
to somebody's secrets, a device that never ends, or a pipe that nobody writes to; then nothing of it is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Final

from nimify.errors import BundleDamaged, one_line, shortened

_MAX_FILES: Final = 20_000
_MAX_BYTES: Final = 256 << 20
"""Of any file but a model's."""
_MODELS: Final = "model_repository"
_NOT_OURS: Final = frozenset({".git"})


def check_contained(bundle: Path) -> None:
    """Look at every entry of a bundle without opening it.

    Links to model files may lead out of the bundle, as `nimify create --link` makes such.

    Raises:
        BundleDamaged: Reading it would lead elsewhere, or might never end.
    """
    root = bundle.resolve()
    for number, path in enumerate(_entries(bundle), 1):
        inside = path.relative_to(bundle)
        what = f"holds more than {_MAX_FILES} files" if number > _MAX_FILES else _objection(path, inside, root)
        if what:
            shown = "The bundle" if number > _MAX_FILES else f"'{shortened(one_line(inside.as_posix()))}'"
            raise BundleDamaged(f"{shown} {what}.", remedy="Remove it, or put a file there; nothing was checked.")


def _entries(bundle: Path) -> Iterator[Path]:
    """Everything but folders, links to folders included."""
    for folder, folders, files in os.walk(bundle):
        here = Path(folder)
        if here == bundle:
            folders[:] = [name for name in folders if name not in _NOT_OURS]
        yield from (here / name for name in files)
        yield from (here / name for name in folders if (here / name).is_symlink())


def _objection(path: Path, inside: PurePath, root: Path) -> str | None:
    """What speaks against opening an entry."""
    is_model = inside.parts[0] == _MODELS and len(inside.parts) > 3
    try:
        target = path.resolve(strict=True)
        found = target.stat()
    except FileNotFoundError:
        return None  # a link to nothing; whoever misses the file says so
    except (OSError, RuntimeError):
        return "leads nowhere"
    if not target.is_relative_to(root) and not is_model:
        return "is a link out of the bundle"
    if stat.S_ISDIR(found.st_mode):
        return "is a link to a folder that lies elsewhere" if not target.is_relative_to(root) else None
    if not stat.S_ISREG(found.st_mode):
        return "is not a file"
    if found.st_size > _MAX_BYTES and not is_model:
        return f"is longer than {_MAX_BYTES >> 20} MiB"
    return None
