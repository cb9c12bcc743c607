"""How much memory ONNX Runtime's arena touches for a sequence of allocations.

Tensors of a run come out of an arena that never gives memory back: regions that double, best fit, free neighbours
joined. Which pages were ever written to, not what is live, is what stays resident; so the arena is replayed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

_GRAIN: Final = 256
_FIRST_REGION: Final = 1 << 20
_LARGEST_GROWTH: Final = 1 << 30
_MAX_WASTE: Final = 128 << 20
"""A chunk with more than this to spare is split even when it is less than twice what is asked for."""
_PAGE: Final = 4096
_MOST_GAPS: Final = 256
"""Beyond so many live tensors a new one goes behind them all, so that the time stays linear in their number."""


@dataclass(slots=True)
class Arena:
    """Replays allocations; `touched_bytes` counts every page that was ever in use."""

    _next_region: int = _FIRST_REGION
    _lowest: int = 1 << 62
    _free: list[tuple[int, int]] = field(default_factory=list)  # (size, start), sorted
    _free_by_start: dict[int, int] = field(default_factory=dict)
    _free_by_end: dict[int, int] = field(default_factory=dict)
    _used: dict[int, int] = field(default_factory=dict)
    _touched: set[tuple[int, int]] = field(default_factory=set)

    def allocate(self, size: int) -> int:
        """The address of a new block; an empty one has none and is 0."""
        if size <= 0:
            return 0
        rounded = -(-size // _GRAIN) * _GRAIN
        if bisect_left(self._free, (rounded, 0)) == len(self._free):
            self._grow(rounded)
        chunk, start = self._free[bisect_left(self._free, (rounded, 0))]
        self._take(start, chunk)
        if chunk >= 2 * rounded or chunk - rounded >= _MAX_WASTE:
            self._give(start + rounded, chunk - rounded)
            chunk = rounded
        self._used[start] = chunk
        self._touched.add((start, start + size))
        return start

    def free(self, start: int) -> None:
        """Give a block back to the arena, and join it with free neighbours."""
        size = self._used.pop(start, 0)
        if not size:
            return
        if (before := self._free_by_end.get(start)) is not None:
            length = start - before
            self._take(before, length)
            start, size = before, size + length
        if (length := self._free_by_start.get(start + size, 0)) > 0:
            self._take(start + size, length)
            size += length
        self._give(start, size)

    def _grow(self, rounded: int) -> None:
        doubled = False
        while rounded > self._next_region:
            self._next_region, doubled = self._next_region * 2, True
        # The system maps each region below the one before; the gap keeps them from being joined.
        self._lowest -= self._next_region + _PAGE
        self._give(self._lowest, self._next_region)
        if not doubled:
            self._next_region = min(2 * self._next_region, max(_LARGEST_GROWTH, self._next_region))

    def _give(self, start: int, size: int) -> None:
        insort(self._free, (size, start))
        self._free_by_start[start] = size
        self._free_by_end[start + size] = start

    def _take(self, start: int, size: int) -> None:
        del self._free[bisect_left(self._free, (size, start))]
        del self._free_by_start[start], self._free_by_end[start + size]

    @property
    def touched_bytes(self) -> int:
        """Bytes that were in use at some time."""
        total = end = 0
        for first, last in sorted(self._touched):
            total += max(0, last - max(first, end))
            end = max(end, last)
        return total


def packed_bytes(lifetimes: list[tuple[int, int, int]]) -> int:
    """Size of one block that holds tensors at fixed offsets, placed one by one as ONNX Runtime's planner does.

    Args:
        lifetimes: `(size, first step, step at which it is free again)`, in the order of allocation.
    """
    placed: list[tuple[int, int]] = []  # (offset, end) of those that are live, sorted
    ends: list[tuple[int, int, int]] = []  # (free again, offset, end), a heap
    largest = 0
    for size, first, last in lifetimes:
        rounded = -(-size // _GRAIN) * _GRAIN
        while ends and ends[0][0] <= first:
            _, offset, end = heappop(ends)
            del placed[bisect_left(placed, (offset, end))]
        offset = _best_gap(placed, rounded) if len(placed) <= _MOST_GAPS else placed[-1][1]
        insort(placed, (offset, offset + rounded))
        heappush(ends, (last, offset, offset + rounded))
        largest = max(largest, offset + rounded)
    return largest


def _best_gap(placed: list[tuple[int, int]], size: int) -> int:
    """Offset of the smallest gap that is large enough, else behind all blocks."""
    end, best, waste = 0, -1, 0
    for first, last in placed:
        gap = first - end
        if gap >= size and (best < 0 or gap - size < waste):
            best, waste = end, gap - size
        end = max(end, last)
    return best if best >= 0 else end
