"""A copy of the model that nobody else can write to.

ONNX Runtime maps external data into memory and goes on reading it there. If such a file is cut short under it, the
process dies of SIGBUS; if it is overwritten, answers change without a word. So where this process could be reached by
that, it maps files that have no name: they are copied, verified as they are copied, opened, and unlinked.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from nimify.errors import BundleDamaged
from nimify.serving.logs import Log
from nimify.serving.spec import ModelFile, ServiceSpec

_CHUNK: Final = 1 << 20
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})


def needs_copy(bundle: Path, spec: ServiceSpec) -> bool:
    """Whether files of the model are mapped that this user, or a program of his, could change in place.

    A model in one file is read as a whole; one on a read-only file system, as in an image, is out of reach.
    """
    if len(spec.model_files) < 2:
        return False
    return any(_is_writable(bundle / file.path) for file in spec.model_files)


def _is_writable(path: Path) -> bool:
    try:
        return not os.statvfs(path).f_flag & os.ST_RDONLY and os.access(path, os.W_OK)
    except OSError:
        return True


@contextmanager
def private_copy(bundle: Path, spec: ServiceSpec, *, verify: bool, log: Log) -> Iterator[Path | None]:
    """A folder with the model's files as they lie in the bundle, for as long as they are being opened.

    `None` where there is no room for it: then the files are served where they are.

    Raises:
        BundleDamaged: A file cannot be read, or does not match its digest.
    """
    with tempfile.TemporaryDirectory(prefix="nimify-model-") as name:
        folder: Path | None = Path(name)
        try:
            for file in spec.model_files:
                _copy(bundle, file, Path(name), verify=verify)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise BundleDamaged(
                    f"The model's files cannot be copied ({error.strerror}).",
                    remedy="Give the bundle a read-only file system, or TMPDIR a folder that can be written to.",
                ) from error
            log.warning("no room for a private copy of the model: do not change its files", reason=error.strerror)
            folder = None
        yield folder


def _copy(bundle: Path, file: ModelFile, folder: Path, *, verify: bool) -> None:
    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source = (bundle / file.path).open("rb")
    except OSError as error:
        raise BundleDamaged(
            f"The model file '{file.path}' cannot be read ({error.strerror}).",
            remedy="Write the bundle again with: nimify create MODEL --force",
        ) from error
    with source, target.open("xb") as copy:
        digest = _copied(source, copy)
    if verify and digest != file.sha256:
        raise BundleDamaged(
            f"The model file '{file.path}' does not match its digest in plan.json.",
            remedy="Restore the file, or write the bundle again with: nimify create MODEL --force",
        )


def _copied(source: IO[bytes], copy: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        copy.write(chunk)
    return digest.hexdigest()
