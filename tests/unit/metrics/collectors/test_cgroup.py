"""The built-in collector, on the files of both versions of control groups as kernels write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nimify.errors import EnvironmentProblem
from nimify.metrics.collectors.cgroup import Cgroup
from nimify.testing.collectors import check_collector

VERSION_2 = {
    "cgroup.controllers": "cpu memory\n",
    "memory.current": "1000000\n",
    "memory.max": "4000000\n",
    "memory.stat": "anon 700000\nfile 300000\ninactive_file 200000\n",
    "memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n",
    "cpu.max": "150000 100000\n",
    "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 1500000\n",
}
VERSION_1 = {
    "memory/memory.usage_in_bytes": "1000000\n",
    "memory/memory.limit_in_bytes": "4000000\n",
    "memory/memory.stat": "cache 300000\ninactive_file 5\ntotal_inactive_file 200000\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "cpuacct/cpuacct.usage": "2500000000\n",
    "cpu/cpu.cfs_quota_us": "150000\n",
    "cpu/cpu.cfs_period_us": "100000\n",
    "cpu/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 1500000000\n",
}
LINES_1 = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/docker/abc\n"
EVERYTHING = {
    "cgroup_memory_usage_bytes": 1_000_000,
    "cgroup_memory_working_set_bytes": 800_000,
    "cgroup_memory_limit_bytes": 4_000_000,
    "cgroup_memory_oom_kills_total": 2,
    "cgroup_cpu_usage_seconds_total": 2.5,
    "cgroup_cpu_limit_cores": 1.5,
    "cgroup_cpu_periods_total": 10,
    "cgroup_cpu_throttled_periods_total": 4,
    "cgroup_cpu_throttled_seconds_total": 1.5,
}


def laid_out(folder: Path, files: dict[str, str], own: str, under: str = "") -> Cgroup:
    for name, content in files.items():
        group = "" if name == "cgroup.controllers" else under
        controller, _, file = name.rpartition("/")
        path = folder / "fs" / controller / group / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    process = folder / "self"
    process.mkdir()
    (process / "cgroup").write_text(own)
    return Cgroup(root=str(folder / "fs"), process=str(process))


def values(cgroup: Cgroup) -> dict[str, float]:
    lines = [line for line in check_collector(cgroup).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.mark.parametrize(
    ("files", "own", "under"),
    [
        (VERSION_2, "0::/\n", ""),
        (VERSION_2, "0::/user.slice/service\n", "user.slice/service"),
        (VERSION_2, "0::/of/the/host\n", ""),
        (VERSION_1, LINES_1, "docker/abc"),
        (VERSION_1, LINES_1, ""),
    ],
    ids=["2", "2 of a machine", "2 in a container", "1 of a machine", "1 in a container"],
)
def test_everything_is_read_in_both_versions(tmp_path: Path, files: dict[str, str], own: str, under: str) -> None:
    """With one meaning and one unit, wherever the group lies under the mount."""
    assert values(laid_out(tmp_path, files, own, under)) == EVERYTHING


@pytest.mark.parametrize(
    ("files", "own", "unlimited"),
    [
        (VERSION_2, "0::/\n", {"memory.max": "max\n", "cpu.max": "max 100000\n"}),
        (
            VERSION_1,
            LINES_1,
            {"memory/memory.limit_in_bytes": "9223372036854771712\n", "cpu/cpu.cfs_quota_us": "-1\n"},
        ),
    ],
    ids=["2", "1"],
)
def test_no_limit_is_no_number(tmp_path: Path, files: dict[str, str], own: str, unlimited: dict[str, str]) -> None:
    """Neither zero nor a huge one, which would spoil every ratio."""
    found = values(laid_out(tmp_path, files | unlimited, own))
    assert EVERYTHING.keys() - found.keys() == {"cgroup_memory_limit_bytes", "cgroup_cpu_limit_cores"}


def test_what_the_kernel_does_not_count_is_left_out(tmp_path: Path) -> None:
    """At the root of version 2 there is no `memory.current`."""
    files = {name: VERSION_2[name] for name in ("cgroup.controllers", "cpu.stat")}
    assert "cgroup_memory_usage_bytes" not in values(laid_out(tmp_path, files, "0::/\n"))


def test_without_control_groups_it_fails(tmp_path: Path) -> None:
    """It says where it looked, rather than that nothing is used."""
    with pytest.raises(EnvironmentProblem, match="no control group to read under"):
        check_collector(Cgroup(root=str(tmp_path), process=str(tmp_path)))
