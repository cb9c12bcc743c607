"""CPUs that the process may use, with control group files as containers have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nimify.serving.cpus import available_cpus


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """An affinity of eight CPUs, whatever this machine has."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))


def cgroup(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode())
    return root


def v1(quota: str, period: str = "100000\n") -> dict[str, str]:
    return {"cpu/cpu.cfs_quota_us": quota, "cpu/cpu.cfs_period_us": period}


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 8),
        ({"cpu.max": ""}, 8),
        ({"cpu.max": "lots 100000\n"}, 8),
        ({"cpu.max": "100000 0\n"}, 8),
        ({"cpu.max": "\xff"}, 8),
        (v1("-1\n"), 8),
        (v1("300000\n"), 3),
        (v1("250000\n", "50000\n"), 5),
        (v1("1000\n"), 1),
        (v1("300000\n", "0\n"), 8),
        (v1("x\n"), 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n"}, 8),
        ({"cpu.max": "100000 100000\n", **v1("300000\n")}, 1),
    ],
)
def test_the_quota_limits_the_affinity(tmp_path: Path, files: dict[str, str], cpus: int) -> None:
    """Version 2 before version 1, part CPUs rounded up, and nonsense ignored."""
    assert available_cpus(cgroup(tmp_path, files)) == cpus


def test_this_machine_has_at_least_one() -> None:
    """The real files are read without a fuss."""
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)


def test_a_platform_without_affinity_is_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All CPUs, or one when even that is unknown."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cpus(tmp_path) == 1
