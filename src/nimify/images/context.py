"""What a builder is given: the files of a bundle that an image needs, and the wheel of nimify.

As a tar stream every file has the same owner, mode and time, so that the same bundle gives the same layers; a model of
any size is streamed and never copied. Builders that want a folder get one of hard links where the disk allows it.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.container.container import CONTAINER_FOLDER, dockerfile_path
from nimify.errors import BundleDamaged
from nimify.filesystem import make_folders
from nimify.formats.format import sha256_of
from nimify.images.wheel import Wheel
from nimify.planning.assets import PROCESSORS_FOLDER
from nimify.planning.repository import REPOSITORY
from nimify.serving.spec import OPENAPI_FILE, PLAN_FILE
from nimify.signing.signature import SIGNATURE_FILE

_WHEELS: Final = f"{CONTAINER_FOLDER}/wheels"
_TREES: Final = (PROCESSORS_FOLDER, REPOSITORY)
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Context:
    """The files of one build, by path.

    Attributes:
        files: Files on disk.
        texts: Files that are made for this build.
    """

    files: dict[str, Path]
    texts: dict[str, bytes]

    @classmethod
    def of(cls, bundle: Bundle, family: str, wheel: Wheel) -> Context:
        """What the image of a bundle is built from.

        Raises:
            BundleDamaged: A file is missing, or is something else than a file.
        """
        fixed = [
            dockerfile_path(family),
            *(f"{CONTAINER_FOLDER}/{name}" for name in ("prepare.py", "requirements.txt")),
        ]
        paths = [*fixed, PLAN_FILE, OPENAPI_FILE, *_signature(bundle), *_generated(bundle)]
        line = f"./{wheel.name} --hash={wheel.digest}\n"
        return cls(
            files={path: _real_file(bundle.path, path) for path in sorted(set(paths))},
            texts={f"{_WHEELS}/{wheel.name}": wheel.content, f"{_WHEELS}/nimify.txt": line.encode()},
        )

    @property
    def size_bytes(self) -> int:
        """How much there is to send."""
        return sum(path.stat().st_size for path in self.files.values()) + sum(map(len, self.texts.values()))

    def digest(self, further: Iterable[str]) -> str:
        """One digest over every file, and what else decides about the image."""
        total = hashlib.sha256()
        for path in sorted([*self.files, *self.texts]):
            own = hashlib.sha256(self.texts[path]).hexdigest() if path in self.texts else sha256_of(self.files[path])
            total.update(f"{path}\0{own}\n".encode())
        for text in further:
            total.update(f"{text}\n".encode())
        return f"sha256:{total.hexdigest()}"

    def send(self, stream: IO[bytes], *, time_s: int = 0) -> None:
        """Write all of it as a tar archive."""
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as archive:
            for folder in _folders([*self.files, *self.texts]):
                archive.addfile(_entry(folder, time_s, folder=True))
            for path in sorted([*self.files, *self.texts]):
                self._send_file(archive, path, time_s)

    def _send_file(self, archive: tarfile.TarFile, path: str, time_s: int) -> None:
        entry = _entry(path, time_s)
        if path in self.texts:
            entry.size = len(self.texts[path])
            archive.addfile(entry, io.BytesIO(self.texts[path]))
            return
        with self.files[path].open("rb") as content:
            entry.size = os.fstat(content.fileno()).st_size
            archive.addfile(entry, content)

    def lay_out(self, folder: Path) -> None:
        """Put all of it into a folder."""
        for path, source in self.files.items():
            make_folders((folder / path).parent)
            try:
                os.link(source, folder / path)
            except OSError:
                shutil.copyfile(source, folder / path)
        for path, content in self.texts.items():
            make_folders((folder / path).parent)
            (folder / path).write_bytes(content)


def _signature(bundle: Bundle) -> Iterator[str]:
    """The signature, when the bundle has one: the service in the image may be told to check it."""
    if (bundle.path / SIGNATURE_FILE).is_file():
        yield SIGNATURE_FILE


def _generated(bundle: Bundle) -> Iterator[str]:
    """The files of the model and the processors that nimify wrote; nothing else that lies there goes into an image."""
    for path in bundle.manifest.files:
        if path.partition("/")[0] in _TREES:
            yield path


def _real_file(bundle: Path, path: str) -> Path:
    """A file of the bundle, or what it links to (`create --link`)."""
    found = (bundle / path).resolve()
    if not found.is_file():
        raise BundleDamaged(
            f"'{bundle / path}' is missing, and images are built from it.",
            remedy="Write the bundle again with: nimify create MODEL",
        )
    return found


def _folders(paths: list[str]) -> list[str]:
    return sorted({str(parent) for path in paths for parent in Path(path).parents if str(parent) != "."})


def _entry(path: str, time_s: int, *, folder: bool = False) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.mtime = time_s
    entry.mode = 0o755 if folder else 0o644
    entry.type = tarfile.DIRTYPE if folder else tarfile.REGTYPE
    return entry
