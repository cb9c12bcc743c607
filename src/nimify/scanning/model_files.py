"""The scan of a model's files: formats that run code when they are opened, libraries, scripts.

Every file of the folder is looked at by its content, because a name proves nothing; no link is followed, and nothing is
loaded.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nimify.errors import one_line, shortened
from nimify.formats.content import recognised
from nimify.planning.repository import REPOSITORY
from nimify.scanning.archives import Contents, Unreadable, contents, inner_head
from nimify.scanning.heads import HEAD_BYTES, holds_objects, is_hdf5, is_library, is_pickle, is_script, is_zlib
from nimify.scanning.scan import Issue, Kind, Level, Scan

SCANNER: Final = "nimify"
_MOST_FILES: Final = 200_000
_TRUST: Final = "Load it only if you trust who made it; serve the model as ONNX."
_LAMBDA: Final = (b'"class_name": "Lambda"', b'"class_name":"Lambda"')


def scan_models(root: Path) -> Scan:
    """Look through a file, or all files of a folder."""
    issues: list[Issue] = []
    unread: list[str] = []
    for number, (path, where) in enumerate(_files(root, unread)):
        if number >= _MOST_FILES:
            unread.append(f"all but the first {_MOST_FILES:,} files")
            break
        try:
            issues += _issues(path, where)
        except (OSError, Unreadable) as error:
            unread.append(f"'{where}' ({shortened(one_line(str(error)), 100)})")
    return Scan(Kind.MODEL, SCANNER, tuple(issues), not_scanned=_said(unread))


def _said(unread: list[str]) -> str:
    if not unread:
        return ""
    more = f" and {len(unread) - 3} more" if len(unread) > 3 else ""
    return f"these could not be looked into: {', '.join(unread[:3])}{more}"


def _files(root: Path, unread: list[str]) -> Iterator[tuple[Path, str]]:
    """Every file and link below a folder with its name in it, in a fixed order; or the file that the root is."""
    if not root.is_dir():
        yield root, _shown(root.name)
        return

    def missed(error: OSError) -> None:
        unread.append(f"'{_shown(str(error.filename))}' ({error.strerror})")

    for place, folders, names in os.walk(root, onerror=missed):
        folders.sort()
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in sorted((*names, *links)):
            path = Path(place) / name
            yield path, _shown(path.relative_to(root).as_posix())


def _issues(path: Path, where: str) -> Iterator[Issue]:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        yield from _link(path, where)
    elif not stat.S_ISREG(mode):
        yield Issue("model.special-file", Level.MEDIUM, where, "It is neither a file nor a folder.", "Remove it.")
    else:
        yield from _by_content(path, where, _head(path))


def _by_content(path: Path, where: str, head: bytes) -> Iterator[Issue]:
    if is_pickle(head, path.name):
        yield _pickle(where)
        return
    inner = inner_head(path, head)
    start = inner or head
    if is_pickle(start, path.name) or holds_objects(start):
        yield _pickle(where)
    elif (inside := contents(path, head, inner)) is not None:
        yield from _archive(inside, where)
    elif is_library(start):
        message = "A program or library, as custom operators need; whoever loads it runs its code."
        yield Issue("model.library", Level.HIGH, where, message, "Build it yourself from sources that you trust.")
    elif is_hdf5(head) and _contains(path, _LAMBDA):
        yield _lambda(where)
    elif is_script(start, path.name):
        yield _script(where)
    elif inner is not None and not is_zlib(head):
        content = recognised(inner)
        what = content.what if content is not None else "something unknown"
        yield Issue(
            "model.packed", Level.LOW, where, f"It is compressed, and holds {what}.", "Unpack it and scan that."
        )


def _archive(inside: Contents, where: str) -> Iterator[Issue]:
    if inside.pickles:
        yield _pickle(where, f"An archive with pickles ({_shown(inside.pickles[0])}): loading it can run any program.")
    if inside.libraries:
        message = f"An archive with programs or libraries ({_shown(inside.libraries[0])})."
        yield Issue("model.library", Level.HIGH, where, message, "Build them yourself from sources that you trust.")
    if inside.code:
        yield _lambda(where)


def _pickle(where: str, message: str = "A pickle: loading it can run any program.") -> Issue:
    return Issue("model.pickle", Level.CRITICAL, where, message, _TRUST)


def _lambda(where: str) -> Issue:
    return Issue("model.keras-lambda", Level.HIGH, where, "A Keras model with a layer that is code.", _TRUST)


def _script(where: str) -> Issue:
    if where.partition("/")[0] == REPOSITORY:
        message = "A script in the model repository, where Triton's Python backend runs it."
        return Issue("model.script", Level.HIGH, where, message, "Serve the model as ONNX, or read the script.")
    return Issue("model.script", Level.LOW, where, "A script: code of whoever made it.", "Read it before you run it.")


def _link(path: Path, where: str) -> Iterator[Issue]:
    message = "A link: what it leads to was not scanned, and may be exchanged."
    yield Issue("model.link", Level.MEDIUM, where, message, "Put the file itself there.")


def _contains(path: Path, texts: tuple[bytes, ...]) -> bool:
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(text) >= 0 for text in texts)


def _head(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read(HEAD_BYTES)


def _shown(name: str) -> str:
    return shortened(one_line(os.fsencode(name).decode("utf-8", "backslashreplace")), 200)
