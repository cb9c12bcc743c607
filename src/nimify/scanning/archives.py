"""What is inside an archive, as far as it matters: looked at member by member, never unpacked to the disk."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from nimify.scanning.heads import (
    HEAD_BYTES,
    holds_objects,
    is_archive,
    is_library,
    is_packed,
    is_pickle,
    is_tar,
    is_zip,
    is_zlib,
)

_MOST_MEMBERS: Final = 100_000
_LONGEST_CONFIG: Final = 16 << 20
_COMPRESSED: Final[tuple[tuple[bytes, Callable[[IO[bytes]], Any]], ...]] = (
    (b"\x1f\x8b", lambda stream: gzip.GzipFile(fileobj=stream)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
)
_FAILURES: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,  # an encrypted member
)


class Unreadable(Exception):
    """An archive cannot be looked into."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What matters in an archive.

    Attributes:
        pickles: Members that are pickles.
        libraries: Members that are programs or libraries.
        code: Whether it is a Keras model with a layer that is code.
    """

    pickles: tuple[str, ...]
    libraries: tuple[str, ...]
    code: bool = False


def inner_head(path: Path, head: bytes) -> bytes | None:
    """The first bytes of what a compressed file holds; `None` when it is not compressed.

    Raises:
        Unreadable: It is damaged, or compressed in a way that is not known here.
    """
    if is_packed(head):
        raise Unreadable("it is compressed in a way that is not looked into")
    for magic, opener in _COMPRESSED:
        if head.startswith(magic):
            try:
                with path.open("rb") as stream, opener(stream) as inner:
                    return bytes(inner.read(HEAD_BYTES))
            except _FAILURES as error:
                raise Unreadable(_said(error)) from error
    return _deflated(head) if is_zlib(head) else None


def contents(path: Path, head: bytes, inner: bytes | None) -> Contents | None:
    """What is in an archive; `None` when the file is none.

    Args:
        path: The file.
        head: Its first bytes.
        inner: Those of what it holds when it is compressed; see `inner_head`.

    Raises:
        Unreadable: It cannot be read, has archives within, or more members than an archive of a model has.
    """
    try:
        if is_zip(head):
            with zipfile.ZipFile(path) as archive:
                found = _sorted(_zip_members(archive))
                return Contents(*found, code=_has_lambda(archive))
        if is_tar(head) or is_tar(inner or b""):
            with tarfile.open(path) as tar:
                return Contents(*_sorted(_tar_members(tar)))
    except _FAILURES as error:
        raise Unreadable(_said(error)) from error
    if inner is not None and is_archive(inner):
        raise Unreadable("it holds a compressed archive")
    return None


def _sorted(members: Iterator[tuple[str, bytes]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of members that are pickles, and of those that are libraries."""
    pickles, libraries = [], []
    for number, (name, head) in enumerate(members):
        if number >= _MOST_MEMBERS:
            raise Unreadable(f"it has more than {_MOST_MEMBERS:,} members")
        if is_pickle(head, name) or holds_objects(head):
            pickles.append(name)
        elif is_library(head):
            libraries.append(name)
        elif is_archive(head) or is_packed(head):
            raise Unreadable(f"it holds an archive, {name}")
    return tuple(sorted(pickles)), tuple(sorted(libraries))


def _zip_members(archive: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    for member in archive.infolist():
        if not member.is_dir():
            with archive.open(member) as stream:
                yield member.filename, stream.read(HEAD_BYTES)


def _tar_members(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        stream = archive.extractfile(member) if member.isreg() else None
        if stream is not None:
            with stream:
                yield member.name, stream.read(HEAD_BYTES)


def _has_lambda(archive: zipfile.ZipFile) -> bool:
    """Whether the configuration of a Keras model names a layer that is code."""
    try:
        member = archive.getinfo("config.json")
    except KeyError:
        return False
    if member.file_size > _LONGEST_CONFIG:
        raise Unreadable("its config.json is longer than that of a model is")
    with archive.open(member) as stream:
        try:
            return _names_lambda(json.loads(stream.read(_LONGEST_CONFIG)))
        except (ValueError, RecursionError) as error:
            raise Unreadable("its config.json cannot be read") from error


def _names_lambda(data: Any) -> bool:
    if isinstance(data, dict):
        return data.get("class_name") in {"Lambda", "__lambda__"} or any(map(_names_lambda, data.values()))
    return isinstance(data, list) and any(map(_names_lambda, data))


def _deflated(head: bytes) -> bytes | None:
    """The first bytes of a zlib stream; two bytes are a weak sign, so it may be none after all."""
    try:
        return zlib.decompressobj().decompress(head, HEAD_BYTES) or None
    except zlib.error:
        return None


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
