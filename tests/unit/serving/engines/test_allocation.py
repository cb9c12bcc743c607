"""Memory that is freed while a model is loaded goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nimify.serving.engines import allocation
from nimify.serving.engines.allocation import freed_memory_returned

_PROBE = """
import ctypes, sys
from contextlib import nullcontext
from nimify.serving.engines.allocation import freed_memory_returned
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def resident():
    return int(open('/proc/self/statm').read().split()[1]) * 4096
libc.mallopt(-3, 32 << 20)
before = resident()
with freed_memory_returned() if sys.argv[1] == 'returned' else nullcontext():
    blocks = []
    for _ in range(40):
        blocks += [libc.malloc(1 << 20), libc.malloc(5000)]
        ctypes.memset(blocks[-2], 1, 1 << 20)
    for block in blocks[::2]:
        libc.free(block)
print(resident() - before)
"""


def left_resident(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", _PROBE, how], check=True, capture_output=True, text=True, timeout=60)
    return int(done.stdout)


@pytest.mark.skipif(allocation._glibc() is None, reason="the C library is not glibc")
def test_freed_blocks_do_not_stay_resident() -> None:
    """Forty megabytes between small blocks that stay: without the block they are kept, with it they are gone."""
    assert left_resident("kept") > 35 << 20
    assert left_resident("returned") < 5 << 20


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without glibc, entering and leaving does nothing."""
    monkeypatch.setattr(allocation, "_glibc", lambda: None)
    with freed_memory_returned():
        pass
