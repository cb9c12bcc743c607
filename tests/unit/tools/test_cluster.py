"""The parts of the cluster tool that need no root: what it remembers, and whom it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tools.cluster.daemons import Daemon, DaemonFailed, await_that, crash, is_alive, start, stop_all
from tools.cluster.journal import Journal
from tools.cluster.programs import (
    COMMANDS,
    DEFINITIONS,
    NotBuilt,
    definitions,
    program,
    prometheus_version,
    version,
)

ROOT = Path(__file__).parents[3]
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_a_journal_outlives_a_crash_while_it_is_written(tmp_path: Path) -> None:
    """The newest entry comes first, and a half-written line is none."""
    journal = Journal(tmp_path / "journal")
    journal.note("sysctl", "kernel/panic", "1")
    journal.note("sysctl", "vm/overcommit_memory", "0")
    with journal.path.open("a") as stream:
        stream.write('["sysctl", "net/ipv4')

    assert journal.entries("sysctl") == [["vm/overcommit_memory", "0"], ["kernel/panic", "1"]]
    assert journal.entries("link") == []


def test_daemons_are_ended_by_who_they_are(tmp_path: Path) -> None:
    """A daemon ends; a stranger that got the id of one that had ended before is left alone."""
    journal = Journal(tmp_path / "journal")
    start(Daemon("sleeper", SLEEP, {}), journal, tmp_path)
    ((_, process, started),) = journal.entries("daemon")
    stranger = subprocess.Popen(SLEEP)
    try:
        journal.note("daemon", "gone", stranger.pid, "1")
        assert is_alive(process, started)

        stop_all(journal)
        stop_all(journal)

        assert not is_alive(process, started)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_the_release_is_that_of_the_pinned_modules() -> None:
    """Every module of Kubernetes is replaced by the one of the same release."""
    recipe = (ROOT / "tools/cluster/binaries/go.mod").read_text()
    minor = version().partition(".")[2]
    replaced = [line.split() for line in recipe.splitlines() if line.startswith("replace k8s.io/")]
    assert len(replaced) > 25
    assert {words[-1] for words in replaced} == {f"v0.{minor}"}
    assert (ROOT / "tools/cluster/binaries/go.sum").is_file()


def test_a_daemon_that_was_crashed_on_purpose_is_not_missed(tmp_path: Path) -> None:
    """Others are: what is waited for could depend on them."""
    journal, answers = Journal(tmp_path / "journal"), iter([False, True])
    start(Daemon("sleeper", SLEEP, {}), journal, tmp_path)
    crash("sleeper", journal)
    await_that("something", lambda: next(answers), journal, tmp_path)

    start(Daemon("brief", [sys.executable, "-c", ""], {}), journal, tmp_path)
    with pytest.raises(DaemonFailed, match="brief ended"):
        await_that("something", lambda: False, journal, tmp_path)


def test_the_operator_is_told_the_release_of_prometheus() -> None:
    """The module of Prometheus counts its releases in another way than its users do."""
    assert prometheus_version().startswith("3.")


def test_what_is_missing_is_named_with_its_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is ordered by release, so that another one is built anew."""
    monkeypatch.setenv("NIMIFY_CLUSTER_CACHE", str(tmp_path))
    for name in COMMANDS:
        with pytest.raises(NotBuilt, match=r"v\d+\.\d+\.\d+/" + name):
            program(name)
    for name in DEFINITIONS:
        with pytest.raises(NotBuilt, match=name + r"-v\d+\.\d+\.\d+/definitions"):
            definitions(name)
