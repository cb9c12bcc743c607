"""A bbolt file, as Go's key-value store of that name writes it: buckets within buckets, sorted keys, one page for each.

What trivy's database is made of. Only what a reader needs: no bucket is split over several pages of a tree, a large one
has a long page instead.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, TypeAlias

Bucket: TypeAlias = Mapping[str, "Bucket | bytes"]

_PAGE_BYTES: Final = 4096
_LEAF, _META, _FREELIST = 0x02, 0x04, 0x10
_HEADER: Final = struct.Struct("<QHHI")  # number, kind, entries, how many more pages it is long
_ELEMENT: Final = struct.Struct("<IIII")  # whether it is a bucket, where its key begins, lengths of key and value
_BUCKET: Final = struct.Struct("<QQ")  # the page of its root, its sequence
_METADATA: Final = struct.Struct("<IIIIQQQQQ")
_MAGIC, _VERSION = 0xED0CDAED, 2
_METAS, _FREELIST_PAGE, _FIRST_FREE = (0, 1), 2, 3


def bolt_file(content: Bucket) -> bytes:
    """The bytes of a file that holds some buckets."""
    pages: list[bytes] = []
    root = _leaf(content, pages)
    count = _FIRST_FREE + sum(len(page) for page in pages) // _PAGE_BYTES
    metas = [_meta(number, root, count) for number in _METAS]
    return b"".join([*metas, _page(_FREELIST_PAGE, _FREELIST, 0, b""), *pages])


def _leaf(bucket: Bucket, pages: list[bytes]) -> int:
    """Append the page of a bucket, after those of the buckets in it; its number."""
    rows: list[tuple[bool, bytes, bytes]] = []
    for name in sorted(bucket, key=str.encode):
        content = bucket[name]
        inner = not isinstance(content, bytes)
        rows.append((inner, name.encode(), content if isinstance(content, bytes) else _inner(content, pages)))
    elements, data = b"", b""
    for index, (inner, key, value) in enumerate(rows):
        from_here = (len(rows) - index) * _ELEMENT.size + len(data)
        elements += _ELEMENT.pack(inner, from_here, len(key), len(value))
        data += key + value
    number = _FIRST_FREE + sum(len(page) for page in pages) // _PAGE_BYTES
    pages.append(_page(number, _LEAF, len(rows), elements + data))
    return number


def _inner(bucket: Bucket, pages: list[bytes]) -> bytes:
    return _BUCKET.pack(_leaf(bucket, pages), 0)


def _page(number: int, kind: int, entries: int, body: bytes) -> bytes:
    length = -(-(_HEADER.size + len(body)) // _PAGE_BYTES)
    return (_HEADER.pack(number, kind, entries, length - 1) + body).ljust(length * _PAGE_BYTES, b"\0")


def _meta(number: int, root: int, count: int) -> bytes:
    body = _METADATA.pack(_MAGIC, _VERSION, _PAGE_BYTES, 0, root, 0, _FREELIST_PAGE, count, number)
    return _page(number, _META, 0, body + struct.pack("<Q", _fnv64a(body)))


def _fnv64a(content: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in content:
        value = (value ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return value
