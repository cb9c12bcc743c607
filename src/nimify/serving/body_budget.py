"""How much of all bodies together is in memory: bounded, whatever each of them may be.

A body counts while it is received, waits and is computed. It counts as it arrives and not by what its client
announces, so nobody can take the whole budget with a header.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_SHARE: Final = 4
"""One of so many parts of the memory may be bodies: the rest is the model's, and what becomes of the bodies."""
_LEAST_BODIES: Final = 2
"""However little memory there is, so many of the longest bodies fit: otherwise none might ever."""
_UNLIMITED: Final = 1 << 60


class BodyBudget:
    """Bytes of bodies that may be in memory at once."""

    __slots__ = ("free", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.free = total

    def take(self, size: int) -> bool:
        """Count bytes in; false, and nothing is counted, when they are too many."""
        if size > self.free:
            return False
        self.free -= size
        return True

    def give_back(self, size: int) -> None:
        """Count bytes out."""
        self.free += size

    @classmethod
    def of_this_machine(cls, *, longest_body: int, workers: int) -> BodyBudget:
        """A worker's part of what the memory of the machine or container allows."""
        share = memory_limit_bytes() // _SHARE // workers
        return cls(max(share, _LEAST_BODIES * longest_body))


def memory_limit_bytes(cgroup_root: Path = Path("/sys/fs/cgroup"), meminfo: Path = Path("/proc/meminfo")) -> int:
    """The memory that this process may use: the control group's limit, or all that the machine has."""
    limits = [_UNLIMITED]
    for path in (cgroup_root / "memory.max", cgroup_root / "memory/memory.limit_in_bytes"):
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    try:
        first = meminfo.read_text(encoding="ascii").split(maxsplit=2)
        limits.append(int(first[1]) * 1024)
    except (OSError, ValueError, IndexError):
        pass
    return min(limits)
