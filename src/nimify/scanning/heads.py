"""What a file is by its first bytes, as far as it can run code."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

HEAD_BYTES: Final = 512
_NUMPY: Final = b"\x93NUMPY"
_LIBRARIES: Final = (
    b"\x7fELF",
    b"MZ",
    b"\xcf\xfa\xed\xfe",
    b"\xce\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
)
_PACKED: Final = (b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")
_SCRIPT_SUFFIXES: Final = frozenset({".py", ".sh", ".bash", ".ps1", ".bat", ".cmd", ".js", ".rb", ".pl", ".lua"})
_PICKLE_SUFFIXES: Final = frozenset({".pkl", ".pickle", ".joblib", ".dill"})
"""Names of pickles of the first protocols, which begin with nothing of their own."""


def is_pickle(head: bytes, name: str) -> bool:
    """Whether a file is a pickle: protocols 2 to 5 begin with their number, older ones are known by their names."""
    if len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return True
    return bool(head) and PurePosixPath(name).suffix.lower() in _PICKLE_SUFFIXES


def holds_objects(head: bytes) -> bool:
    """Whether a NumPy array that begins here has elements that are pickled."""
    return head.startswith(_NUMPY) and b"'|O" in head


def is_library(head: bytes) -> bool:
    """Whether it is a program, or a library such as those of custom operators."""
    return head.startswith(_LIBRARIES)


def is_script(head: bytes, name: str) -> bool:
    """Whether it is source code that a program would run."""
    return head.startswith(b"#!") or PurePosixPath(name).suffix.lower() in _SCRIPT_SUFFIXES


def is_zip(head: bytes) -> bool:
    """Whether it is a ZIP archive, as PyTorch, Keras and NumPy write them."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def is_tar(head: bytes) -> bool:
    """Whether it is a tar archive, as NeMo writes them."""
    return head[257:262] == b"ustar"


def is_zlib(head: bytes) -> bool:
    """Whether it may be a zlib stream, as joblib writes them."""
    return head[:2] in {b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"}


def is_archive(head: bytes) -> bool:
    """Whether it is an archive, or compressed, in a way that is looked into."""
    return is_zip(head) or is_tar(head) or head.startswith((b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00"))


def is_packed(head: bytes) -> bool:
    """Whether it is an archive, or compressed, in a way that is not looked into: Zstandard, LZ4, 7-Zip, RAR."""
    return head.startswith(_PACKED)


def is_hdf5(head: bytes) -> bool:
    """Whether it is an HDF5 file, as older releases of Keras write them."""
    return head.startswith(b"\x89HDF\r\n\x1a\n")
