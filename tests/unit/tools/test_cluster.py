"""The parts of the cluster tool that need no root: what it remembers, and whom it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tools.cluster.daemons import Daemon, is_alive, start, stop_all
from tools.cluster.journal import Journal
from tools.cluster.programs import version

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
