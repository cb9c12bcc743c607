"""Runs the scenarios: text files that show what a user types and what comes of it.

A scenario starts with what it shows, then has one step a line, then files to begin with (`-- name --`):

    nimify create m.onnx        calls the command's `main` in this process, which is quick; it must end with 0
    $ nimify create m.onnx      runs the installed command in a process of its own
    [3] nimify create m.onnx    it must end with 3, and must leave every file as it was
    stdout 'regex'              what the last command printed; `! stdout` when it must not match
    stderr 'regex'              the same for standard error
    errors 1                    how many `Error:` lines, and that there is no traceback
    exists PATH, ! exists PATH
    same A B                    two files or folders are byte-identical
    copy A B, append PATH 'text', remove PATH, folder PATH, symlink TARGET PATH, hardlink TARGET PATH
    model KIND PATH             a model of nimify.testing.models
    truncate PATH BYTES
    relocate PATH LOCATION      point the external data of a model elsewhere
    dimensions PATH LENGTH      give the first input this length on its second axis
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Final

import onnx
import pytest

from nimify import cli
from nimify.testing import models

SCENARIOS: Final = sorted(Path(__file__).parent.glob("*.txt"))
_FILE_LINE: Final = re.compile(r"^-- (?P<name>\S+) --$", re.MULTILINE)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the scenario says comes true."""
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("FORCE_COLOR", "NIMIFY_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    script, *files = _FILE_LINE.split(scenario.read_text(encoding="utf-8"))
    for name, content in zip(files[::2], files[1::2], strict=True):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content.removeprefix("\n"), encoding="utf-8")
    world = _World(tmp_path)
    for number, line in enumerate(script.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            try:
                world.step(line.strip())
            except AssertionError as error:
                pytest.fail(f"{scenario.name}:{number}: {line}\n{error}\n{world.said}", pytrace=False)


class _World:
    """A folder, and what the last command said in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stdout = self._stderr = ""

    @property
    def said(self) -> str:
        return f"--- stdout\n{self._stdout}\n--- stderr\n{self._stderr}"

    def step(self, line: str) -> None:
        wanted = True
        if line.startswith("! "):
            wanted, line = False, line[2:]
        code = 0
        if match := re.match(r"\[(\d+)\] ", line):
            code, line = int(match[1]), line[match.end() :]
        verb, *words = shlex.split(line)
        if verb == "nimify":
            self._expect(code, lambda: self._call(words))
        elif verb == "$":
            self._expect(code, lambda: self._run(words))
        elif verb in {"stdout", "stderr"}:
            text = self._stdout if verb == "stdout" else self._stderr
            assert bool(re.search(words[0], text, re.MULTILINE)) is wanted, f"wanted: {wanted}"
        elif verb == "exists":
            assert os.path.lexists(self._folder / words[0]) is wanted
        else:
            action: Callable[..., None] = self._make_folder if verb == "folder" else getattr(self, f"_{verb}")
            action(*words)

    def _expect(self, code: int, command: Callable[[], int]) -> None:
        before = _snapshot(self._folder)
        ended = command()
        assert ended == code, f"ended with {ended}"
        if code:
            assert _snapshot(self._folder) == before, "a command that failed changed files"

    def _call(self, words: list[str]) -> int:
        out, err = io.StringIO(), io.StringIO()
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with chdir(self._folder), redirect_stdout(out), redirect_stderr(err):
                return cli.main(words)
        finally:
            signal.signal(signal.SIGTERM, handler)
            self._stdout, self._stderr = out.getvalue(), err.getvalue()

    def _run(self, words: list[str]) -> int:
        program = Path(sys.executable).with_name(words[0])
        result = subprocess.run(
            [str(program), *words[1:]], cwd=self._folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        self._stdout, self._stderr = result.stdout, result.stderr
        return result.returncode

    def _errors(self, count: str) -> None:
        lines = self._stderr.splitlines()
        assert sum(line.startswith("Error: ") for line in lines) == int(count)
        assert len(lines) <= 2 * int(count), "an error is one line, and one for the remedy"
        assert "Traceback" not in self._stderr

    def _same(self, first: str, second: str) -> None:
        assert _snapshot(self._folder / first) == _snapshot(self._folder / second)

    def _copy(self, source: str, target: str) -> None:
        if (self._folder / source).is_dir():
            shutil.copytree(self._folder / source, self._folder / target)
        else:
            shutil.copy(self._folder / source, self._folder / target)

    def _append(self, path: str, text: str) -> None:
        with (self._folder / path).open("a", encoding="utf-8") as stream:
            stream.write(text.replace("\\n", "\n"))

    def _remove(self, path: str) -> None:
        (self._folder / path).unlink()

    def _make_folder(self, path: str) -> None:
        (self._folder / path).mkdir(parents=True)

    def _symlink(self, target: str, path: str) -> None:
        (self._folder / path).symlink_to(target)

    def _hardlink(self, target: str, path: str) -> None:
        (self._folder / path).hardlink_to(self._folder / target)

    def _model(self, kind: str, path: str) -> None:
        models.save({**models.ALL, **models.UNSUPPORTED}[kind](), self._folder / path)

    def _truncate(self, path: str, size: str) -> None:
        os.truncate(self._folder / path, int(size))

    def _relocate(self, path: str, location: str) -> None:
        model = onnx.load(str(self._folder / path), load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location.replace("{folder}", str(self._folder))
        (self._folder / path).write_bytes(model.SerializeToString())

    def _dimensions(self, path: str, length: str) -> None:
        model = onnx.load(str(self._folder / path))
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = int(length)
        (self._folder / path).write_bytes(model.SerializeToString())


def _snapshot(path: Path) -> dict[str, str]:
    """Every file below a path by name: its digest, or where it links to."""
    if path.is_file():
        return {"": hashlib.sha256(path.read_bytes()).hexdigest()}
    return {
        str(file.relative_to(path)): f"-> {file.readlink()}" if file.is_symlink() else _digest(file)
        for file in sorted(path.rglob("*"))
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
