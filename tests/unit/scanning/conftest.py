"""Scanners as tiny programs on the PATH: they answer with a report, and note how they were called."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FakeScanner = Callable[..., Path]


@pytest.fixture
def path_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH: no scanner of this machine is found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def fake_scanner(path_folder: Path, tmp_path: Path) -> FakeScanner:
    """Install a program that prints a report, or text, and ends with a status; gives where it notes its calls."""

    def install(
        name: str,
        report: Any = None,
        *,
        text: str | None = None,
        status: int = 0,
        sleep_s: int = 0,
        packages: tuple[str, ...] = ("library",),
    ) -> Path:
        calls = tmp_path / f"{name}.calls"
        output = json.dumps(report) if text is None else text
        script = path_folder / name
        script.write_text(
            f"#!{sys.executable}\n"
            "import json, os, sys, time\n"
            f"with open({str(calls)!r}, 'a') as notes:\n"
            "    notes.write(json.dumps({'arguments': sys.argv[1:], 'files': os.listdir()}) + '\\n')\n"
            f"time.sleep({sleep_s})\n"
            # As grype does, when it is told to write what it looked at into a file as well.
            f"components = {[{'type': kind, 'name': 'x'} for kind in packages]!r}\n"
            "for argument in sys.argv[1:]:\n"
            "    if argument.startswith('cyclonedx-json='):\n"
            "        with open(argument.partition('=')[2], 'w') as listing:\n"
            "            json.dump({'components': components}, listing)\n"
            f"sys.stdout.write({output!r})\n"
            f"sys.stderr.write('first line\\nFATAL: it failed\\n' if {status} else '')\n"
            f"sys.exit({status})\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return calls

    return install


def calls_of(notes: Path) -> list[dict[str, Any]]:
    """How a scanner was called."""
    return [json.loads(line) for line in notes.read_text().splitlines()]
