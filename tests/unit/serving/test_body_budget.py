"""How much of all bodies may be in memory: a part of what the process may use, and never less than one needs."""

from __future__ import annotations

import pytest

from nimify.serving.body_budget import BodyBudget, memory_limit_bytes


def test_the_longest_body_always_fits() -> None:
    """However little memory there is."""
    longest = memory_limit_bytes() * 2
    assert BodyBudget.of_this_machine(longest_body=longest, workers=1).take(longest)


def test_workers_share_the_memory() -> None:
    """Each has its part."""
    alone, together = (BodyBudget.of_this_machine(longest_body=1, workers=workers).total for workers in (1, 4))
    assert together == alone // 4


def test_the_memory_limit_is_the_smaller_one(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Of the control group and the machine; what cannot be read is no limit."""
    root = tmp_path_factory.mktemp("cgroup")
    meminfo = root / "meminfo"
    meminfo.write_text("MemTotal:       1000 kB\nMemFree: 1 kB\n")
    assert memory_limit_bytes(root, meminfo) == 1_024_000
    (root / "memory.max").write_text("max\n")
    assert memory_limit_bytes(root, meminfo) == 1_024_000
    (root / "memory.max").write_text("4096\n")
    assert memory_limit_bytes(root, meminfo) == 4096
    assert memory_limit_bytes(root / "none", root / "none") > 1 << 50
