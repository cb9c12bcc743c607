"""The built-in `cgroup` collector: what the container may use, what it uses, and how often it was held back.

It reads the control group of the service itself, of version 2 or 1. Inside a container that is the container's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from nimify.errors import EnvironmentProblem
from nimify.metrics.collectors.collector import Metric, Sample

_MEMORY_USAGE: Final = Metric("cgroup_memory_usage_bytes", "gauge", "Memory that the control group uses, in bytes.")
_MEMORY_WORKING_SET: Final = Metric(
    "cgroup_memory_working_set_bytes", "gauge", "That memory without what can be dropped at once, in bytes."
)
_MEMORY_LIMIT: Final = Metric("cgroup_memory_limit_bytes", "gauge", "Memory that it may use, in bytes; none: no limit.")
_OOM_KILLS: Final = Metric("cgroup_memory_oom_kills_total", "counter", "Processes killed because memory ran out.")
_CPU_USAGE: Final = Metric("cgroup_cpu_usage_seconds_total", "counter", "CPU seconds that it used.")
_CPU_LIMIT: Final = Metric("cgroup_cpu_limit_cores", "gauge", "CPUs that it may use; none: no limit.")
_PERIODS: Final = Metric("cgroup_cpu_periods_total", "counter", "Periods of the CPU limit that have passed.")
_THROTTLED: Final = Metric("cgroup_cpu_throttled_periods_total", "counter", "Periods in which it was held back.")
_THROTTLED_S: Final = Metric("cgroup_cpu_throttled_seconds_total", "counter", "Seconds for which it was held back.")
_NO_LIMIT_BYTES: Final = 1 << 62
"""Version 1 has no word for "no limit", and writes the largest number of pages instead."""


class Cgroup:
    """Reads the files of the kernel.

    Args:
        root: Where the control groups are mounted.
        process: The folder of the process in question.
    """

    def __init__(self, *, root: str = "/sys/fs/cgroup", process: str = "/proc/self") -> None:
        self._root = Path(root)
        self._process = Path(process)

    def describe(self) -> Sequence[Metric]:
        """See `Collector.describe`."""
        return (
            _MEMORY_USAGE, _MEMORY_WORKING_SET, _MEMORY_LIMIT, _OOM_KILLS,
            _CPU_USAGE, _CPU_LIMIT, _PERIODS, _THROTTLED, _THROTTLED_S,
        )  # fmt: skip

    def collect(self) -> Iterator[Sample]:
        """See `Collector.collect`; what this kernel does not count is left out."""
        own = self._own_groups()
        samples = [*(_version_2 if "" in own else _version_1)(self._root, own)]
        if not samples:
            raise EnvironmentProblem(f"there is no control group to read under '{self._root}'.")
        yield from samples

    def _own_groups(self) -> dict[str, str]:
        """The path of the process by controller; version 2 has all of them in one, without a name."""
        groups: dict[str, str] = {}
        for line in _text(self._process / "cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            groups |= dict.fromkeys(controllers.split(","), path)
        if not (self._root / "cgroup.controllers").is_file():
            groups.pop("", None)  # a machine with both versions: the controllers are those of version 1
        return groups


def _version_2(root: Path, own: dict[str, str]) -> Iterator[Sample]:
    group = _folder(root, own[""])
    memory, cpu = _table(group / "memory.stat"), _table(group / "cpu.stat")
    usage = _number(group / "memory.current")
    yield from _sample(_MEMORY_USAGE, usage)
    yield from _sample(_MEMORY_WORKING_SET, _minus(usage, memory.get("inactive_file")))
    yield from _sample(_MEMORY_LIMIT, _number(group / "memory.max"))
    yield from _sample(_OOM_KILLS, _table(group / "memory.events").get("oom_kill"))
    yield from _sample(_CPU_USAGE, cpu.get("usage_usec"), 1e6)
    quota, _, period = _text(group / "cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        yield from _sample(_CPU_LIMIT, int(quota), int(period))
    yield from _throttling(cpu, "throttled_usec", 1e6)


def _version_1(root: Path, own: dict[str, str]) -> Iterator[Sample]:
    memory, cpu, account = (_folder(root / name, own.get(name, "/")) for name in ("memory", "cpu", "cpuacct"))
    usage, limit = _number(memory / "memory.usage_in_bytes"), _number(memory / "memory.limit_in_bytes")
    yield from _sample(_MEMORY_USAGE, usage)
    yield from _sample(_MEMORY_WORKING_SET, _minus(usage, _table(memory / "memory.stat").get("total_inactive_file")))
    yield from _sample(_MEMORY_LIMIT, limit if limit is not None and limit < _NO_LIMIT_BYTES else None)
    yield from _sample(_OOM_KILLS, _table(memory / "memory.oom_control").get("oom_kill"))
    yield from _sample(_CPU_USAGE, _number(account / "cpuacct.usage"), 1e9)
    quota, period = _number(cpu / "cpu.cfs_quota_us"), _number(cpu / "cpu.cfs_period_us")
    if quota is not None and quota > 0 and period:
        yield from _sample(_CPU_LIMIT, quota, period)
    yield from _throttling(_table(cpu / "cpu.stat"), "throttled_time", 1e9)


def _throttling(cpu: dict[str, int], time: str, per_second: float) -> Iterator[Sample]:
    yield from _sample(_PERIODS, cpu.get("nr_periods"))
    yield from _sample(_THROTTLED, cpu.get("nr_throttled"))
    yield from _sample(_THROTTLED_S, cpu.get(time), per_second)


def _sample(metric: Metric, value: int | None, divisor: float = 1.0) -> Iterator[Sample]:
    if value is not None:
        yield Sample(metric.name, value / divisor)


def _folder(mount: Path, path: str) -> Path:
    """The group's folder; a container often sees its own group at the mount, under a path of the host's."""
    folder = mount / path.lstrip("/")
    return folder if folder.is_dir() and ".." not in folder.parts else mount


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


def _number(path: Path) -> int | None:
    with suppress(ValueError):
        return int(_text(path))
    return None  # also of `max`, which is no number


def _table(path: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def _minus(whole: int | None, part: int | None) -> int | None:
    return None if whole is None or part is None else max(0, whole - part)
