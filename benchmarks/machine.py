"""What the machine did during a measurement: processor time of a server, of its client and of everybody else.

Read from /proc, so Linux only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")
_STARTED: Final = 19
"""The field of `_stat` with the time of a process's start."""
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
    """Resident memory of a process and its descendants; files that several of them map count once."""
    private = 0
    files: dict[str, int] = {}
    for member in process_tree(pid):
        for mapping, resident in _mappings(member):
            if mapping is None:
                private += resident
            else:
                files[mapping] = max(files.get(mapping, 0), resident)
    return private + sum(files.values())


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


def signal_tree(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and its descendants."""
    for member in process_tree(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, number)


def identified_tree(pid: int) -> dict[int, str]:
    """A process and its descendants, each with its start, which tells it from a later one of that number."""
    return {member: fields[_STARTED] for member in process_tree(pid) if (fields := _stat(member))}


def end_leftovers(tree: Mapping[int, str]) -> None:
    """Kill those of `identified_tree` that still run."""
    for member, started in tree.items():
        if (fields := _stat(member)) and fields[_STARTED] == started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on; empty when the process is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _mappings(pid: int) -> Iterator[tuple[str | None, int]]:
    """What a process maps: a name for each part of a file, none for memory of its own; and how much is resident."""
    try:
        lines = (_PROC / str(pid) / "smaps").read_text().splitlines()
    except OSError:
        return
    mapping: str | None = None
    for line in lines:
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):  # the head of a mapping: range, rights, offset, device, inode and path
            _rights, offset, device, inode, *_path = rest.split()
            mapping = f"{device} {inode} {offset}" if inode != "0" else None
        elif name == "Rss:":
            yield mapping, int(rest.split()[0]) * 1024


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
