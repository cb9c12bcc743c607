"""What lies in the folder of a model file: files that run code when they are opened, scripts, executables.

Only the folder itself is listed, up to a limit; no link is followed and nothing is loaded. Of each file the first bytes
are read, because a name proves nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nimify.errors import one_line, shortened
from nimify.findings import Finding, Severity

MAX_ENTRIES: Final = 2_000
_HEAD_BYTES: Final = 512
_OPEN_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_PICKLE_SUFFIXES: Final = frozenset({".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".dill", ".mar"})
_KERAS_SUFFIXES: Final = frozenset({".keras", ".h5", ".hdf5"})
_SCRIPT_SUFFIXES: Final = frozenset({".py", ".sh", ".bash", ".ps1", ".bat", ".cmd", ".js", ".rb", ".pl"})
_NUMPY: Final = b"\x93NUMPY"
_PROGRAM_HEADS: Final = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    size: int
    executable: bool
    head: bytes

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix.lower()


def sibling_findings(path: Path, own_files: Collection[str]) -> list[Finding]:
    """Findings about the folder of a model file.

    Args:
        path: The model file.
        own_files: The model's own files, relative to that folder; they are only looked at for their permissions.
    """
    try:
        entries, complete = _listed(path.parent)
    except OSError as error:
        cause = error.strerror or "unknown cause"
        return [Finding("safety.folder-unreadable", Severity.INFO, f"The model's folder cannot be listed ({cause}).")]
    others = [entry for entry in entries if entry.name not in own_files]
    findings = [*_unsafe(others), *_programs(others), *_executables(entries)]
    if not complete:
        findings.append(
            Finding(
                "safety.folder-large",
                Severity.INFO,
                f"Only {MAX_ENTRIES:,} files of the model's folder were looked at.",
                "Keep a model in a folder of its own.",
            )
        )
    return findings


def _listed(folder: Path) -> tuple[list[_Entry], bool]:
    """The regular files of a folder, sorted by name, and whether that is all of it."""
    entries: list[_Entry] = []
    with os.scandir(folder) as iterator:
        for number, entry in enumerate(iterator, 1):
            if number > MAX_ENTRIES:
                return sorted(entries, key=lambda entry: entry.name), False
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # It is gone already.
            if stat.S_ISREG(status.st_mode):
                executable = bool(status.st_mode & 0o111)
                entries.append(_Entry(entry.name, status.st_size, executable, _head(folder / entry.name)))
    return sorted(entries, key=lambda entry: entry.name), True


def _unsafe(entries: Collection[_Entry]) -> Iterator[Finding]:
    pickles = [entry.name for entry in entries if _runs_code(entry)]
    if pickles:
        yield Finding(
            "safety.unsafe-sibling",
            Severity.WARNING,
            f"Beside the model lie {_named(pickles)}: files that can run code when they are loaded.",
            "The bundle leaves them out. Move the model into a folder of its own, and load them only if you trust "
            "who made them.",
        )
    keras = [entry.name for entry in entries if entry.suffix in _KERAS_SUFFIXES]
    if keras:
        yield Finding(
            "safety.keras-sibling",
            Severity.INFO,
            f"Beside the model lie {_named(keras)}: Keras files, which may hold code in Lambda layers.",
            "The bundle leaves them out.",
        )


def _programs(entries: Collection[_Entry]) -> Iterator[Finding]:
    found = [
        entry.name
        for entry in entries
        if entry.suffix in _SCRIPT_SUFFIXES or entry.head.startswith((*_PROGRAM_HEADS, b"#!"))
    ]
    if found:
        yield Finding(
            "safety.script-sibling",
            Severity.INFO,
            f"Beside the model lie {_named(found)}: scripts or programs.",
            "Nimify runs none of them and the bundle leaves them out.",
        )


def _executables(entries: Collection[_Entry]) -> Iterator[Finding]:
    models = [entry.name for entry in entries if entry.executable and entry.suffix in {".onnx", ".data", ".bin"}]
    if models:
        yield Finding(
            "safety.executable-bit",
            Severity.INFO,
            f"{_named(models)} may be executed, which no model needs.",
            "Take the permission away: chmod a-x. Files in the bundle have mode 0644 in any case.",
        )


def _runs_code(entry: _Entry) -> bool:
    """Whether loading a file can run code, by its first bytes; where these tell nothing, by its name."""
    head, is_named_so = entry.head, entry.suffix in _PICKLE_SUFFIXES
    if head.startswith(b"PK\x03\x04"):  # PyTorch's archive begins with its pickle, NumPy's with an array.
        return is_named_so or b"data.pkl" in head or _holds_objects(head)
    if head.startswith(_NUMPY):
        return _holds_objects(head)
    return _is_pickle(head) or (is_named_so and entry.size > 0 and not head.startswith(b"GGUF"))


def _holds_objects(head: bytes) -> bool:
    """Whether an array that begins here has elements that NumPy pickles."""
    return _NUMPY in head and b"'|O'" in head


def _is_pickle(head: bytes) -> bool:
    """Protocols 2 to 5 begin with their number; the compressors of joblib hide it behind a magic of their own."""
    return len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5


def _head(path: Path) -> bytes:
    """The first bytes of a file; none when it cannot be read."""
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
    except OSError:
        return b""
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read(_HEAD_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""


def _named(names: list[str]) -> str:
    shown = ", ".join(f"'{shortened(one_line(_printable(name)), 60)}'" for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _printable(name: str) -> str:
    """A name that need not be UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
