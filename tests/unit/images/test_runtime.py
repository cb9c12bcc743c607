"""What an engine says of a container, read as it means it."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import pytest

from nimify.images.runtime import Confinement, Runtime, Trial
from nimify.programs import Program


@pytest.mark.parametrize("text", ["2026-01-01T10:00:00.123456789Z", "2026-01-01T12:00:00.123456789+02:00"])
def test_the_start_of_a_container_is_read_in_its_own_time_zone(tmp_path: Path, text: str) -> None:
    """Docker writes UTC and podman the time of the machine, both down to nanoseconds."""
    engine = tmp_path / "engine"
    engine.write_text(f"#!/bin/sh\necho '\"{text}\"'\n")
    engine.chmod(0o755)

    started_at = Trial(Program(str(engine)), "any").started_at()

    assert started_at == datetime.datetime(2026, 1, 1, 10, 0, 0, 123456, tzinfo=datetime.UTC)


def test_a_container_that_comes_to_be_after_an_interrupt_is_removed(tmp_path: Path) -> None:
    """The engine makes what its client asked for before it was ended, and says only later that it is there."""
    engine = tmp_path / "engine"
    engine.write_text(
        f"""#!/bin/sh
cd {tmp_path}
echo "$1" >> calls
case "$1" in
run) (sleep 1; touch container; touch made) >/dev/null 2>&1 & sleep 0.2; kill -INT $PPID; exec sleep 0.1 ;;
inspect) test -e container && echo '{{"Running": true}}' ;;
rm) rm container ;;
esac
"""
    )
    engine.chmod(0o755)

    with pytest.raises(KeyboardInterrupt):
        Runtime(Program(str(engine)), "image").start(Confinement(1 << 28, 1 << 20, 1 << 20), {})

    deadline_s = time.monotonic() + 60
    while not (tmp_path / "made").exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert not (tmp_path / "container").exists()
    assert (tmp_path / "calls").read_text().splitlines()[-1] == "rm"
