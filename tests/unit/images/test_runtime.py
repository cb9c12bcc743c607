"""What an engine says of a container, read as it means it."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from nimify.images.runtime import Trial
from nimify.programs import Program


@pytest.mark.parametrize("text", ["2026-01-01T10:00:00.123456789Z", "2026-01-01T12:00:00.123456789+02:00"])
def test_the_start_of_a_container_is_read_in_its_own_time_zone(tmp_path: Path, text: str) -> None:
    """Docker writes UTC and podman the time of the machine, both down to nanoseconds."""
    engine = tmp_path / "engine"
    engine.write_text(f"#!/bin/sh\necho '\"{text}\"'\n")
    engine.chmod(0o755)

    started_at = Trial(Program(str(engine)), "any").started_at()

    assert started_at == datetime.datetime(2026, 1, 1, 10, 0, 0, 123456, tzinfo=datetime.UTC)
