"""Weights that an ONNX model keeps in files beside itself.

The model names these files, and the model may come from a stranger. So a file counts only when it lies in the model's
own folder or below, is a regular file with one name, and is reached without any link; it is opened component by
component relative to the folder, so that nothing can be exchanged on the way. Here files are measured and hashed,
never loaded.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nimify.errors import ModelError, UnsafeModel, shortened
from nimify.formats.format import ProgressCallback, SourceFile, sha256_of_stream
from nimify.formats.limits import MAX_EXTERNAL_FILES, MAX_NAME_LENGTH
from nimify.formats.onnx_weights import ExternalTensor

_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_MEMORY_MARK: Final = "_ORT_MEM_ADDR_"
"""ONNX Runtime reads "files" of this name out of its own memory."""
_OPEN_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class ExternalData:
    """The external data of one model.

    Args:
        folder: The folder of the model file, without links.
        source: The model file's name as the user gave it, for messages.
        model_name: The model file's name in `folder`.
    """

    def __init__(self, folder: Path, source: str, model_name: str) -> None:
        self._folder = folder
        self._source = source
        self._model_name = model_name
        self._sizes: dict[str, int] = {}

    def check(self, tensors: Sequence[ExternalTensor]) -> None:
        """Check that each tensor's data lies where the model says, inside the model's folder.

        Raises:
            ModelError: A file is missing or too short.
            UnsafeModel: A file lies outside, or is not a plain file of the model's own.
        """
        for tensor in tensors:
            entries = dict(tensor.entries)
            location = self.checked_location(entries.get("location", ""), tensor.name)
            self._check_extent(tensor, entries, location, self._size(location))

    def files(self, *, digest: bool, progress: ProgressCallback | None) -> list[SourceFile]:
        """The files that `check` saw, sorted by location.

        Raises:
            ModelError: One changed or vanished since.
        """
        return [self._file(location, digest, progress) for location in sorted(self._sizes)]

    def checked_location(self, location: str, tensor: str) -> str:
        """A location as the model gives it, in its plain form: components with a slash between them.

        Raises:
            ModelError: There is none.
            UnsafeModel: It could lead out of the folder, or hides what it is.
        """
        what = f"the external data of tensor '{shortened(tensor)}'"
        if not location:
            raise ModelError(self._source, f"{what} has no location.", remedy="Export the model again.")
        shown = f"{what} is at '{shortened(location)}'"
        if len(location) > MAX_NAME_LENGTH:
            raise UnsafeModel(self._source, f"{shown}, which is longer than {MAX_NAME_LENGTH} characters.")
        if not location.isprintable() or "\\" in location or _MEMORY_MARK in location:
            raise UnsafeModel(self._source, f"{shown}, which is not a plain file name.")
        parts = [part for part in location.split("/") if part not in {"", "."}]
        if location.startswith("/") or re.match("[A-Za-z]:", location) or ".." in parts or not parts:
            raise UnsafeModel(
                self._source,
                f"{shown}, outside the model's folder.",
                remedy="Save the model with its data beside it: onnx.save(..., save_as_external_data=True).",
            )
        plain = "/".join(parts)
        if plain == self._model_name:
            raise UnsafeModel(self._source, f"{shown}, which is the model file itself.")
        return plain

    def _check_extent(self, tensor: ExternalTensor, entries: dict[str, str], location: str, available: int) -> None:
        what = f"the external data of tensor '{shortened(tensor.name)}'"
        offset = self._number(entries.get("offset", "0"), f"the offset of {what}")
        length = self._number(entries.get("length", str(tensor.size_bytes)), f"the length of {what}")
        if length != tensor.size_bytes:
            raise ModelError(
                self._source,
                f"{what} has {length} bytes, while its type and dimensions ask for {tensor.size_bytes}.",
            )
        if offset + length > available:
            raise ModelError(
                self._source,
                f"{what} ends at byte {offset + length} of '{shortened(location)}', which has only {available}.",
                remedy="Copy the data file again; it must come from the same export as the model.",
            )

    def _number(self, text: str, what: str) -> int:
        if _NUMBER.fullmatch(text) is None:
            raise UnsafeModel(self._source, f"{what} is '{shortened(text, 40)}', not a whole number.")
        return int(text)

    def _size(self, location: str) -> int:
        if location not in self._sizes:
            if len(self._sizes) == MAX_EXTERNAL_FILES:
                raise UnsafeModel(self._source, f"it names more than {MAX_EXTERNAL_FILES} files of external data.")
            with self._opened(location) as descriptor:
                self._sizes[location] = os.fstat(descriptor).st_size
        return self._sizes[location]

    def _file(self, location: str, digest: bool, progress: ProgressCallback | None) -> SourceFile:
        with self._opened(location) as descriptor:
            size = os.fstat(descriptor).st_size
            with os.fdopen(descriptor, "rb", closefd=False) as stream:
                sha256 = sha256_of_stream(stream, progress=progress) if digest else ""
        if size != self._sizes[location]:
            raise ModelError(self._source, f"'{shortened(location)}' changed while it was read.")
        return SourceFile(location, size, sha256)

    @contextmanager
    def _opened(self, location: str) -> Iterator[int]:
        """A descriptor of a file below the folder, reached without following any link."""
        shown = f"its external data '{shortened(location)}'"
        *folders, name = location.split("/")
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        try:
            for component in folders:
                descriptor = _step(descriptor, component, _OPEN_FLAGS | os.O_DIRECTORY)
            # Asked before opening, because opening a device may already do something.
            self._refuse_special(os.stat(name, dir_fd=descriptor, follow_symlinks=False), shown)
            descriptor = _step(descriptor, name, _OPEN_FLAGS)
            self._refuse_special(os.fstat(descriptor), shown)
            yield descriptor
        except FileNotFoundError:
            raise ModelError(
                self._source,
                f"{shown} is missing.",
                remedy="Put it beside the model file; if that is a link, copy what it points to (cp -L).",
            ) from None
        except OSError as error:
            raise UnsafeModel(self._source, f"{shown} cannot be reached safely ({error.strerror}).") from None
        finally:
            os.close(descriptor)

    def _refuse_special(self, status: os.stat_result, shown: str) -> None:
        if stat.S_ISLNK(status.st_mode):
            raise UnsafeModel(self._source, f"{shown} is a symbolic link.", remedy=_COPY_REMEDY)
        if not stat.S_ISREG(status.st_mode):
            raise UnsafeModel(self._source, f"{shown} is not a regular file.")
        if status.st_nlink != 1:
            raise UnsafeModel(self._source, f"{shown} is a hard link to a file with another name.", remedy=_COPY_REMEDY)


_COPY_REMEDY: Final = "Replace it by a copy of the data."


def _step(descriptor: int, component: str, flags: int) -> int:
    """Open a component inside an open folder, and close the folder."""
    inner = os.open(component, flags, dir_fd=descriptor)
    os.close(descriptor)
    return inner
