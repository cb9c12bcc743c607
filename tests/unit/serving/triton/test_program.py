"""The program: found, and recognised by its own help."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nimify.errors import EnvironmentProblem
from nimify.serving.triton.program import find_program


def script(path: Path, content: str, *, mode: int = 0o755) -> str:
    path.write_text(content)
    path.chmod(mode)
    return str(path)


def test_the_options_of_this_release_are_read_from_its_help(tmp_path: Path) -> None:
    """It ends with 1 after its help, as the real one does, and may print to either stream."""
    text = "  --model-repository <string>\n\tPath.\n  --allow-client-shm <boolean>\n"
    program = find_program(script(tmp_path / "tritonserver", f"#!/bin/sh\ncat >&2 <<'END'\n{text}END\nexit 1\n"))
    assert {"--model-repository", "--allow-client-shm"} <= program.options


def test_a_missing_program_is_named_with_the_remedy(tmp_path: Path) -> None:
    """Where to get it, and how to do without."""
    with pytest.raises(EnvironmentProblem, match=r"no program '.*/nowhere'.*--triton-server.*--engine triton"):
        find_program(str(tmp_path / "nowhere"))


def test_another_program_is_not_taken_for_triton() -> None:
    """Its help says what it is."""
    with pytest.raises(EnvironmentProblem, match="is not Triton's tritonserver"):
        find_program(sys.executable)


def test_a_program_that_does_not_run_here_is_named(tmp_path: Path) -> None:
    """Such as one for another machine."""
    with pytest.raises(EnvironmentProblem, match="cannot be started"):
        find_program(script(tmp_path / "tritonserver", "\x7fELF, but nothing more"))
