"""What the machine did during a measurement: processor time of a server, of its client and of everybody else.

Read from /proc, so Linux only.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")
NOISY_CORES: Final = 0.3
"""A measurement is marked when unrelated work took more than this many cores while it ran."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time in one stretch of time.

    Attributes:
        elapsed_s: How long it was.
        server_s: Processor time of the watched process and its descendants.
        client_s: Processor time of our own process and the children that it has waited for.
        other_cores: Cores that everything else kept busy, on average.
    """

    elapsed_s: float
    server_s: float
    client_s: float
    other_cores: float

    @property
    def noisy(self) -> bool:
        """Whether unrelated work may have bent the result."""
        return self.other_cores > NOISY_CORES


class CpuMeter:
    """Measures from its creation to `read`.

    Args:
        server: The process to watch, if there is one.
    """

    def __init__(self, server: int | None = None) -> None:
        self._server = server
        self._start = self._sample()

    def watch(self, server: int) -> None:
        """Watch a process that was started after the meter was made."""
        self._server = server

    def _sample(self) -> tuple[float, float, float, float]:
        own = os.times()
        client_s = own.user + own.system + own.children_user + own.children_system
        server_s = cpu_s(self._server) if self._server is not None else 0.0
        return time.monotonic(), server_s, client_s, _busy_s()

    def read(self) -> Usage:
        """Usage since the meter was made."""
        elapsed_s, server_s, client_s, busy_s = (
            now - before for now, before in zip(self._sample(), self._start, strict=True)
        )
        return Usage(elapsed_s, server_s, client_s, max(0.0, (busy_s - server_s - client_s) / elapsed_s))


def cpu_s(pid: int) -> float:
    """Processor time that a process and its living descendants have used."""
    total = 0
    for member in process_tree(pid):
        fields = _stat(member)
        total += int(fields[11]) + int(fields[12]) if fields else 0
    return total / _TICKS_PER_S


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; shared pages count once for each."""
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(_resident_pages(member) for member in process_tree(pid)) * page


def process_tree(pid: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for member in found:  # grows while it is walked
        found += children.get(member, [])
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on; empty when the process is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _resident_pages(pid: int) -> int:
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1])
    except OSError:
        return 0


def _busy_s() -> float:
    """Time that all cores together did not idle; time that a hypervisor took away counts as busy."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (
        int(field) for field in (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_S


def facts() -> dict[str, str | int]:
    """What kind of machine this is."""
    lines = (_PROC / "cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0))}
