"""One run of Triton: from its start to its end, with its output read all the while."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress

from nimify.errors import EnvironmentProblem
from nimify.serving.triton.arguments import EXIT_TIMEOUT_S
from nimify.serving.triton.launch import command
from nimify.serving.triton.output import TritonOutput

_KILL_AFTER_S = EXIT_TIMEOUT_S + 5.0
"""How long after SIGTERM it is ended by force: Triton's own limit, and some time to come down."""

_LAST_WORDS_S = 5.0
"""How long its last lines may take to be read."""


class TritonProcess:
    """A Triton that was started; to be made on the event loop of the main thread, whose end it does not survive.

    Attributes:
        output: What it wrote.
        ended: Set, on the event loop, once it has ended and everything that it wrote was read.
    """

    def __init__(self, process: subprocess.Popen[bytes], output: TritonOutput) -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()
        self.output = output
        self.ended = asyncio.Event()
        self._reader = threading.Thread(target=self._read, name="nimify-triton-log", daemon=True)
        self._reader.start()
        threading.Thread(target=self._await_end, name="nimify-triton-end", daemon=True).start()

    @classmethod
    def start(cls, program: str, arguments: Sequence[str], output: TritonOutput) -> TritonProcess:
        """Start Triton.

        Raises:
            EnvironmentProblem: This machine has no room for another process.
        """
        try:
            process = subprocess.Popen(
                command(program, arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # Its own group: a terminal's Ctrl-C is for us, and what it starts itself can be ended with it.
                start_new_session=True,
            )
        except OSError as error:
            raise EnvironmentProblem(f"Triton cannot be started ({error.strerror}).") from error
        return cls(process, output)

    @property
    def pid(self) -> int:
        """Process id; Triton's own, as the launcher becomes Triton."""
        return self._process.pid

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        return f"it was ended by {signal.Signals(-code).name}" if code and code < 0 else f"its exit code is {code}"

    def terminate(self) -> None:
        """Ask it to stop, wait until it has, and end it by force when that takes too long; blocks."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_KILL_AFTER_S)
        self.kill()

    def kill(self) -> None:
        """End it at once, and whatever it started; blocks for a moment."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _read(self) -> None:
        stream = self._process.stdout
        if stream is not None:
            with stream:
                for line in stream:
                    self.output.add(line.decode("utf-8", "replace").rstrip("\r\n"))

    def _await_end(self) -> None:
        self._process.wait()
        self.kill()  # what it started may still hold the pipe open
        self._reader.join(_LAST_WORDS_S)
        with suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self.ended.set)
