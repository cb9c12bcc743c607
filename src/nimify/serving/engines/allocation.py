"""Memory that loading a model frees goes back to the system.

An engine copies every weight several times while it loads a model: out of the file, into the layout of its kernels,
into its packed form. glibc learns from the first large block that is freed to keep such blocks for later, so what was
freed stays resident for the life of the process: two to three times the weights, for nothing. While a model is loaded,
large blocks are mapped one by one instead, and afterwards the rest of the heap that is free is given back.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

# Numbers of mallopt's parameters in glibc's <malloc.h>.
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_SMALL_BYTES: Final = 128 << 10
"""glibc's own first threshold for mapping a block."""
_LARGEST_BYTES: Final = 32 << 20
"""As far as glibc's own adjustment goes: while serving, blocks up to this size are kept and used again."""


@contextmanager
def freed_memory_returned() -> Iterator[None]:
    """Give large blocks back to the system as soon as they are freed inside the block, and trim the heap at its end.

    Does nothing where the C library is not glibc.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _SMALL_BYTES)
    try:
        yield
    finally:
        libc.malloc_trim(0)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_BYTES)


def _glibc() -> Any:
    """The C library of this process, `None` when it is another one."""
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    return libc if all(hasattr(libc, name) for name in ("gnu_get_libc_version", "mallopt", "malloc_trim")) else None
