"""Programs of others that targets drive: with argument lists, time limits, and their failures in the user's words."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nimify.errors import one_line, shortened

_TIMEOUT_S: Final = 60.0
_LONGEST: Final = 400


class ProgramFailed(Exception):
    """A program ended with an error, or could not be run; the text says why, in its own words.

    Attributes:
        code: Its status; -1 when it did not run or did not end in time.
        errors: All that it wrote to standard error.
    """

    def __init__(self, why: str, *, code: int = -1, errors: str = "") -> None:
        super().__init__(one_line(shortened(why, _LONGEST)))
        self.code = code
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Program:
    """A program that is found by its name.

    Attributes:
        name: E.g. `docker`.
        options: Put before the arguments of every call.
        environment: Set for every call, over what we have ourselves.
    """

    name: str
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str | None:
        """Where it is; `None` when it is not installed."""
        return shutil.which(self.name)

    def run(self, *arguments: str, stdin: str | None = None, timeout_s: float = _TIMEOUT_S) -> str:
        """Run it; what it wrote to standard output.

        Raises:
            ProgramFailed: It is missing, ended with an error, or took too long.
        """
        try:
            done = subprocess.run(
                self._command(arguments),
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout_s,
                env={**os.environ, **self.environment},
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ProgramFailed(f"{self._said(arguments)} did not end within {timeout_s:.0f} seconds") from None
        except OSError as error:
            raise ProgramFailed(f"{self.name} cannot be run ({error.strerror})") from error
        if done.returncode:
            raise ProgramFailed(
                _last_line(done.stderr) or f"{self._said(arguments)} ended with status {done.returncode}",
                code=done.returncode,
                errors=done.stderr,
            )
        return done.stdout

    def json(self, *arguments: str, stdin: str | None = None, timeout_s: float = _TIMEOUT_S) -> Any:
        """Run it, and read what it wrote as one JSON document.

        Raises:
            ProgramFailed: As `run`, or it wrote something else.
        """
        text = self.run(*arguments, stdin=stdin, timeout_s=timeout_s)
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise ProgramFailed(f"{self._said(arguments)} wrote no JSON") from None

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it, with its output in one pipe; the caller ends it.

        Raises:
            ProgramFailed: It cannot be run.
        """
        try:
            return subprocess.Popen(
                self._command(arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                env={**os.environ, **self.environment},
            )
        except OSError as error:
            raise ProgramFailed(f"{self.name} cannot be run ({error.strerror})") from error

    def lines(self, *arguments: str) -> Iterator[str]:
        """What it writes, line by line, to its end; it is ended when the reader stops reading.

        Raises:
            ProgramFailed: It cannot be run, or ended with an error.
        """
        process = self.start(*arguments)
        last = ""
        try:
            for line in process.stdout or ():
                last = line.rstrip("\n")
                yield last
            if process.wait():
                raise ProgramFailed(last or f"{self._said(arguments)} failed", code=process.returncode)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [self.path or self.name, *self.options, *arguments]

    def _said(self, arguments: Sequence[str]) -> str:
        return " ".join([self.name, *arguments[:2]])


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
