"""Programs of others that we drive, e.g. docker: argument lists, deadlines, and what they say when they fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from nimify.errors import one_line, shortened

_TIMEOUT_S: Final = 60.0
_KEPT_LINES: Final = 200
_LONGEST: Final = 400
_GRACE_S: Final = 10.0


class ProgramFailed(Exception):
    """A program ended with an error, could not be run, or took too long.

    Attributes:
        lines: The last lines that it wrote to standard error, or to either stream where it was followed.
        code: Its status; -1 when it did not run or did not end in time.
    """

    def __init__(self, why: str, lines: tuple[str, ...] = (), *, code: int = -1) -> None:
        # It is put into a sentence of ours, which has an end of its own.
        super().__init__(one_line(shortened(why.rstrip(" .?!") or why, _LONGEST)))
        self.lines = lines
        self.code = code

    def says(self, *words: str) -> bool:
        """Whether its last lines hold one of some words, in any case."""
        text = "\n".join([*self.lines, str(self)]).lower()
        return any(word in text for word in words)


@dataclass(frozen=True, slots=True)
class Program:
    """A program that is found by its name.

    Attributes:
        name: E.g. `docker`.
        options: Put before the arguments of every call.
        environment: Set for every call, over what we have ourselves.
        without: Variables of ours that it does not see.
    """

    name: str
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    without: Collection[str] = ()

    @property
    def path(self) -> str | None:
        """Where it is; `None` when it is not installed."""
        return shutil.which(self.name)

    def run(
        self,
        *arguments: str,
        stdin: str | None = None,
        folder: Path | None = None,
        longest: int | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> str:
        """Run it; what it wrote to standard output.

        Args:
            arguments: Those of the program.
            stdin: What it reads from standard input.
            folder: Where it runs; where we do when left out.
            longest: The most characters that it may write to standard output.
            timeout_s: How long it may take.

        Raises:
            ProgramFailed: It is missing, ended with an error, took too long, or wrote too much.
        """
        try:
            done = subprocess.run(
                self.command(*arguments),
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout_s,
                cwd=folder,
                env=self._environment(),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ProgramFailed(f"{self._said(arguments)} did not end within {timeout_s:g} seconds") from None
        except OSError as error:
            raise ProgramFailed(f"{self.name} cannot be run ({error.strerror})") from error
        if done.returncode:
            lines = _lines(done.stderr)
            last = lines[-1].strip() if lines else f"{self._said(arguments)} ended with status {done.returncode}"
            raise ProgramFailed(last, lines, code=done.returncode)
        if longest is not None and len(done.stdout) > longest:
            raise ProgramFailed(f"{self._said(arguments)} wrote {len(done.stdout):,} characters")
        return done.stdout

    def json(
        self,
        *arguments: str,
        folder: Path | None = None,
        longest: int | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> Any:
        """Run it, and read what it wrote as one JSON document.

        Raises:
            ProgramFailed: As `run`, or it wrote something else.
        """
        text = self.run(*arguments, folder=folder, longest=longest, timeout_s=timeout_s)
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise ProgramFailed(f"{self._said(arguments)} wrote no JSON") from None

    def lines(self, *arguments: str) -> Iterator[str]:
        """What it writes to either stream, line by line, to its end; it is ended when the reader stops reading.

        Raises:
            ProgramFailed: It cannot be run, or ended with an error.
        """
        process = self.start(*arguments)
        last = ""
        try:
            for line in process.stdout or ():
                last = line.decode("utf-8", "replace").rstrip("\n")
                yield last
            if process.wait():
                raise ProgramFailed(last or f"{self._said(arguments)} failed", code=process.returncode)
        finally:
            end(process)

    def follow(
        self,
        *arguments: str,
        tell: Callable[[str], None],
        feed: Callable[[IO[bytes]], None] | None = None,
        timeout_s: float,
    ) -> None:
        """Run it to its end, telling each line that it writes to either stream.

        Args:
            arguments: Those of the program.
            tell: Called with each line.
            feed: Writes what the program reads from standard input.
            timeout_s: How long it may take.

        Raises:
            ProgramFailed: As `run`.
        """
        process = self.start(*arguments, reads=feed is not None)
        kept: deque[str] = deque(maxlen=_KEPT_LINES)
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            _stop(process)

        clock = threading.Timer(timeout_s, expire)
        clock.start()
        feeder = threading.Thread(target=_feed, args=(process, feed), daemon=True)
        feeder.start()
        try:
            for line in process.stdout or ():
                text = line.decode("utf-8", "replace").rstrip()
                kept.append(text)
                tell(text)
            code = process.wait()
        finally:
            # Also when the user interrupts: what was started here must not go on.
            clock.cancel()
            end(process)
            clock.join(_GRACE_S)
            feeder.join(_GRACE_S)
        if expired.is_set():
            raise ProgramFailed(f"{self._said(arguments)} did not end within {timeout_s:g} seconds", tuple(kept))
        if code:
            last = next((line for line in reversed(kept) if line.strip()), "")
            raise ProgramFailed(last or f"{self._said(arguments)} ended with status {code}", tuple(kept), code=code)

    def command(self, *arguments: str) -> list[str]:
        """The argument list of a call."""
        return [self.path or self.name, *self.options, *arguments]

    def start(self, *arguments: str, reads: bool = False) -> subprocess.Popen[bytes]:
        """Start it with all of its output in one pipe; the caller ends it, with `end`.

        Args:
            arguments: Those of the program.
            reads: Whether it gets a pipe to read from.

        Raises:
            ProgramFailed: It cannot be run.
        """
        try:
            return subprocess.Popen(
                self.command(*arguments),
                stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                # A group of its own, so that its children end with it and a Ctrl-C is ours to deal with.
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramFailed(f"{self.name} cannot be run ({error.strerror})") from error

    def _environment(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if name not in self.without}
        return {**ours, **self.environment}

    def _said(self, arguments: tuple[str, ...]) -> str:
        return " ".join([self.name, *arguments[:2]])


def variables(prefix: str, *, but: tuple[str, ...] = ()) -> frozenset[str]:
    """Our variables by which a program takes options: those that begin with its prefix, but for some.

    Args:
        prefix: E.g. `TRIVY_`.
        but: What the others begin with, after the prefix.
    """
    kept = tuple(f"{prefix}{name}" for name in but)
    return frozenset(name for name in os.environ if name.startswith(prefix) and not name.startswith(kept))


def _feed(process: subprocess.Popen[bytes], feed: Callable[[IO[bytes]], None] | None) -> None:
    if process.stdin is None or feed is None:
        return
    # A program that has ended says itself why it read no further.
    with suppress(BrokenPipeError), process.stdin as stream:
        feed(stream)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program that `Program.start` started, with its children, politely first; nothing when it has ended."""
    _stop(process)
    if process.stdout is not None:
        process.stdout.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-_KEPT_LINES:]
