"""A service running as a child process, for tests, notebooks and scripts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from nimify.errors import BundleError, ConfigError, EnvironmentProblem, ModelError, NimifyError, PluginError

_KEPT_LINES: Final = 500
_STOP_TIMEOUT_S: Final = 30.0
_ERROR_LINE: Final = "Error: "
_MODEL_ERROR: Final = re.compile(r"Cannot use '(?P<source>.*?)': (?P<cause>.*)")


class ServerProcess:
    """A running `nimify serve`; a context manager that stops it.

    Attributes:
        url: Where it answers, e.g. `http://127.0.0.1:41873`.
        grpc_url: Where gRPC answers, e.g. `grpc://127.0.0.1:41874`; empty when it is not served.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, name="nimify-serve-log", daemon=True)
        self._reader.start()
        self.url = ""
        self.grpc_url = ""

    @classmethod
    def start(cls, bundle: Path, options: tuple[str, ...], *, ready_timeout_s: float) -> Self:
        """Start a server and wait until it is ready.

        Raises:
            NimifyError: It ended, or was not ready in time; says why.
        """
        command = [sys.executable, "-m", "nimify", "serve", str(bundle), "--log-format", "json", *options]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            # Its own session: Ctrl-C in a notebook must not reach it past `stop`.
            start_new_session=True,
            env={**os.environ, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"},
        )
        server = cls(process)
        try:
            server._await_ready(ready_timeout_s)
        except BaseException:
            server.kill()
            raise
        return server

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """The last lines that it wrote, JSON objects for the most part."""
        return "\n".join(self._lines)

    def stop(self, timeout_s: float = _STOP_TIMEOUT_S) -> int:
        """Ask it to stop, let it finish what it is doing, and wait; kill it when that takes too long.

        Returns:
            Its exit code: 0 when every request was answered.
        """
        if self.running:
            # SIGINT stops without the drain window: nobody balances load over a server of a test or notebook.
            self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.returncode
        self._close()
        return code

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _close(self) -> None:
        self._reader.join(timeout=5)
        if self._process.stderr is not None and not self._reader.is_alive():
            self._process.stderr.close()

    def _read(self) -> None:
        """Keep the pipe empty, whatever happens, and notice the line that says it is ready."""
        stream = self._process.stderr
        if stream is None:
            return
        for line in stream:
            self._lines.append(line.rstrip("\n"))
            if not self._ready.is_set():
                self._notice(line)
        self._ready.set()

    def _notice(self, line: str) -> None:
        try:
            record = json.loads(line)
        except ValueError:
            return
        if not isinstance(record, dict):
            return
        if record.get("event") == "listening" and "grpc" in record:
            self.grpc_url = f"grpc://{record['grpc']}"
        elif record.get("event") == "ready" and "url" in record:
            self.url = str(record["url"])
            self._ready.set()

    def _await_ready(self, timeout_s: float) -> None:
        if not self._ready.wait(timeout_s):
            raise EnvironmentProblem(
                f"The service was not ready within {timeout_s:g} seconds.",
                remedy="Give it more time with ready_timeout_s, or look at what it does with: nimify serve BUNDLE",
            )
        if not self.url:
            self._process.wait()
            raise _child_error(list(self._lines), self._process.returncode)


def _child_error(lines: list[str], code: int) -> NimifyError:
    """The error that ended the child, of the class that its exit code stands for."""
    said = [position for position, line in enumerate(lines) if line.startswith(_ERROR_LINE)]
    if not said:
        last = lines[-1] if lines else "it said nothing"
        return EnvironmentProblem(f"The service ended with status {code} before it was ready: {last}")
    message = lines[said[-1]].removeprefix(_ERROR_LINE)
    remedy = " ".join(line for line in lines[said[-1] + 1 :] if not line.startswith("{"))
    if code == ModelError.exit_code and (parts := _MODEL_ERROR.fullmatch(message)):
        return ModelError(parts["source"], parts["cause"], remedy=remedy)
    for kind in (ConfigError, BundleError, EnvironmentProblem, PluginError):
        if kind.exit_code == code:
            return kind(message, remedy=remedy)
    return NimifyError(message, remedy=remedy)
