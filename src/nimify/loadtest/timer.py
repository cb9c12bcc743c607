"""A timer finer than the event loop's, whose resolution of a millisecond is more than many requests take.

Linux gives timers as file descriptors (timerfd_create(2)); Python has them from 3.13 on only, so libc is asked.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_NONBLOCK_CLOEXEC: Final = os.O_NONBLOCK | os.O_CLOEXEC
_ABSOLUTE: Final = 1
_NS: Final = 1_000_000_000


class _Time(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Setting(ctypes.Structure):
    _fields_ = [("interval", _Time), ("value", _Time)]


class Timer:
    """Calls one function whenever the time that was set last has come.

    Args:
        ring: Called on the running event loop.

    Raises:
        OSError: The system has no such timer.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._read)

    def set(self, due_ns: int) -> None:
        """Ring at a time of `time.perf_counter_ns`, which is this clock on Linux; at once when it is past."""
        due_ns = max(due_ns, time.perf_counter_ns() + 1)
        setting = _Setting(_Time(0, 0), _Time(due_ns // _NS, due_ns % _NS))
        self._libc.timerfd_settime(self._descriptor, _ABSOLUTE, ctypes.byref(setting), None)

    def close(self) -> None:
        """Never ring again."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return  # it was set anew meanwhile
        self._ring()
