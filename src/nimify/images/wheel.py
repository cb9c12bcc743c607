"""The installed nimify as a wheel, so that an image runs the very code that made its bundle.

It is put together from the files that are installed, whether as a wheel or as an editable checkout, and does not depend
on when or where: the same files give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from nimify import version
from nimify.errors import EnvironmentProblem

_DISTRIBUTION: Final = "nimify-anything"
_PACKAGE: Final = "nimify"
_METADATA: Final = ("METADATA", "entry_points.txt")
_WHEEL: Final = "Wheel-Version: 1.0\nGenerator: nimify\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_OLDEST: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that the format has."""
_MODE: Final = 0o100644 << 16


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel in memory.

    Attributes:
        name: Of its file.
        content: Its bytes.
    """

    name: str
    content: bytes

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of its bytes."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"


def installed_wheel() -> Wheel:
    """The nimify that is running.

    Raises:
        EnvironmentProblem: It is not installed, only importable.
    """
    try:
        installed = distribution(_DISTRIBUTION)
    except PackageNotFoundError as error:
        raise EnvironmentProblem(
            "This nimify is not installed as a package, so it cannot go into an image.",
            remedy="Install it: pip install nimify-anything, or pip install --editable . in a checkout.",
        ) from error
    stem = f"{_DISTRIBUTION.replace('-', '_')}-{installed.version}"
    info = f"{stem}.dist-info"
    entries = {**dict(_package_files()), **dict(_metadata_files(installed, info))}
    entries[f"{info}/RECORD"] = _record(entries, f"{info}/RECORD")
    return Wheel(f"{stem}-py3-none-any.whl", _zipped(entries))


def _package_files() -> Iterator[tuple[str, bytes]]:
    root = Path(version.__file__).parent
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"{_PACKAGE}/{path.relative_to(root).as_posix()}", path.read_bytes()


def _metadata_files(installed: Distribution, info: str) -> Iterator[tuple[str, bytes]]:
    yield f"{info}/WHEEL", _WHEEL.encode()
    for name in _METADATA:
        text = installed.read_text(name)
        if text is not None:
            yield f"{info}/{name}", text.encode()


def _record(entries: dict[str, bytes], own_path: str) -> bytes:
    lines = [f"{path},sha256={_hash(content)},{len(content)}" for path, content in sorted(entries.items())]
    return "\n".join([*lines, f"{own_path},,", ""]).encode()


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _zipped(entries: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    # Stored, not deflated: versions of zlib differ in their output.
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for path, content in sorted(entries.items()):
            entry = zipfile.ZipInfo(path, _OLDEST)
            entry.external_attr = _MODE
            entry.create_system = 3  # Unix, whatever this machine is
            archive.writestr(entry, content)
    return stream.getvalue()
