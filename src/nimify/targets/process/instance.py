"""One `nimify serve` process, seen by the process that started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from nimify.errors import one_line
from nimify.targets.process.launch import command

_KEPT_LINES: Final = 20
_CHUNK: Final = 1 << 16
_LONGEST_LINE: Final = 1 << 20
_ERROR: Final = "Error: "


@dataclass
class Instance:
    """A process that serves, or will when its model is loaded.

    Attributes:
        revision: What it serves.
        process: The process.
        started_s: When it was started, by the monotonic clock.
        url: Where it answers; empty until it is ready.
        tail: The last lines that it wrote.
    """

    revision: int
    process: subprocess.Popen[bytes]
    started_s: float
    url: str = ""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    _rest: bytes = b""

    @classmethod
    def start(cls, revision: int, arguments: Sequence[str], sockets: Mapping[str, int]) -> Instance:
        """Start `nimify` with these arguments and listening sockets."""
        process = subprocess.Popen(
            command(arguments, sockets=dict(sockets), parent=os.getpid()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=tuple(sockets.values()),
            # Its own session: a Ctrl-C that is meant for the command does not reach the service.
            start_new_session=True,
            env={**os.environ, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"},
        )
        instance = cls(revision, process, time.monotonic())
        os.set_blocking(instance.pipe, False)
        return instance

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def pipe(self) -> int:
        """The descriptor that its log comes from."""
        if self.process.stderr is None:
            raise ValueError("the log of this process was closed")
        return self.process.stderr.fileno()

    @property
    def ready(self) -> bool:
        """Whether it said that it accepts connections."""
        return bool(self.url)

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    @property
    def lived_s(self) -> float:
        """For how long it has run."""
        return time.monotonic() - self.started_s

    def read(self) -> bytes:
        """What it wrote since the last call; notices the line that says it is ready."""
        pieces: list[bytes] = []
        while True:
            try:
                piece = os.read(self.pipe, _CHUNK)
            except BlockingIOError:
                break
            if not piece:
                break
            pieces.append(piece)
        content = b"".join(pieces)
        *lines, self._rest = (self._rest + content).split(b"\n")
        self._rest = self._rest[-_LONGEST_LINE:]
        for line in lines:
            self._notice(line.decode("utf-8", "replace"))
        return content

    def _notice(self, line: str) -> None:
        self.tail.append(one_line(line))
        if self.ready or '"ready"' not in line:
            return
        try:
            record = json.loads(line)
        except ValueError:
            return
        if isinstance(record, dict) and record.get("event") == "ready":
            self.url = str(record.get("url", ""))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it is gone."""
        if not self.ended:
            self.process.send_signal(number)

    def close(self) -> None:
        """Let go of a process that is gone."""
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()

    @property
    def last_words(self) -> str:
        """Why it ended, in its own words where it had any, otherwise by its status."""
        said = [line for line in self.tail if line.startswith(_ERROR)]
        if said:
            return said[-1].removeprefix(_ERROR)
        code = self.process.poll()
        if code is None:
            return "it is still running"
        return f"it was ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with status {code}"
