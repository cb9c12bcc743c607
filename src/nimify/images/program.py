"""Programs that make and start images: argument lists, deadlines, and their output line by line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Final

from nimify.errors import one_line, shortened

_TIMEOUT_S: Final = 60.0
_KEPT_LINES: Final = 200
_LONGEST: Final = 400
_GRACE_S: Final = 10.0


class ProgramFailed(Exception):
    """A program ended with an error, could not be run, or took too long.

    Attributes:
        lines: The last lines that it wrote, to either stream.
    """

    def __init__(self, why: str, lines: tuple[str, ...] = ()) -> None:
        super().__init__(one_line(shortened(why, _LONGEST)))
        self.lines = lines

    def says(self, *words: str) -> bool:
        """Whether its last lines hold one of some words, in any case."""
        text = "\n".join([*self.lines, str(self)]).lower()
        return any(word in text for word in words)


@dataclass(frozen=True, slots=True)
class Program:
    """A program that is found by its name.

    Attributes:
        name: E.g. `docker`.
        environment: Set for every call, over what we have ourselves.
    """

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str | None:
        """Where it is; `None` when it is not installed."""
        return shutil.which(self.name)

    def run(self, *arguments: str, timeout_s: float = _TIMEOUT_S) -> str:
        """Run it; what it wrote to standard output.

        Raises:
            ProgramFailed: It is missing, ended with an error, or took too long.
        """
        try:
            done = subprocess.run(
                self.command(*arguments),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                env={**os.environ, **self.environment},
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ProgramFailed(f"{self._said(arguments)} did not end within {timeout_s:.0f} seconds") from None
        except OSError as error:
            raise ProgramFailed(f"{self.name} cannot be run ({error.strerror})") from error
        if done.returncode:
            lines = _lines(done.stderr.decode("utf-8", "replace"))
            last = lines[-1] if lines else f"{self._said(arguments)} ended with status {done.returncode}"
            raise ProgramFailed(last, lines)
        return done.stdout.decode("utf-8", "replace")

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
        process = self._started(arguments, reads=feed is not None)
        kept: deque[str] = deque(maxlen=_KEPT_LINES)
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            _end(process)

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
            _end(process)
            feeder.join(_GRACE_S)
            if process.stdout is not None:
                process.stdout.close()
        if expired.is_set():
            raise ProgramFailed(f"{self._said(arguments)} did not end within {timeout_s:.0f} seconds", tuple(kept))
        if code:
            last = next((line for line in reversed(kept) if line.strip()), "")
            raise ProgramFailed(last or f"{self._said(arguments)} ended with status {code}", tuple(kept))

    def command(self, *arguments: str) -> list[str]:
        """The argument list of a call."""
        return [self.path or self.name, *arguments]

    def _started(self, arguments: tuple[str, ...], *, reads: bool) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self.command(*arguments),
                stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
                # A group of its own, so that its children end with it and a Ctrl-C is ours to deal with.
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramFailed(f"{self.name} cannot be run ({error.strerror})") from error

    def _said(self, arguments: tuple[str, ...]) -> str:
        return " ".join([self.name, *arguments[:1]])


def _feed(process: subprocess.Popen[bytes], feed: Callable[[IO[bytes]], None] | None) -> None:
    if process.stdin is None or feed is None:
        return
    # A program that has ended says itself why it read no further.
    with suppress(BrokenPipeError), process.stdin as stream:
        feed(stream)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and its children, politely first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-_KEPT_LINES:]
