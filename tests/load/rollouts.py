"""Releases that take over from each other on the same two sockets, as the `process` target has them do; or workers."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Self

from nimify.serving.listener import bind
from nimify.targets.process.launch import command

READY_S = 120.0


class Rollouts:
    """Holds the sockets of a service, and has one process after the other serve them.

    Args:
        bundle: What each of them serves.
        folder: Where their logs go.
        options: Further options of `nimify serve`.
    """

    def __init__(self, bundle: Path, folder: Path, *options: str) -> None:
        self._bundle = bundle
        self._folder = folder
        self._options = options
        self._http, self._grpc = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
        for listener in (self._http, self._grpc):
            listener.close()

    @property
    def port(self) -> int:
        """The port of HTTP."""
        return int(self._http.getsockname()[1])

    @property
    def grpc_address(self) -> str:
        """Host and port of gRPC."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def grpc_port(self) -> int:
        """The port of gRPC."""
        return int(self._grpc.getsockname()[1])

    @property
    def pid(self) -> int:
        """The process that was started last."""
        return self._started[-1].pid

    def roll(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Start the next process, and stop the one before it when the next is ready; the exit code of that."""
        leaving = self._started[-1]
        self._start()
        leaving.send_signal(number)
        return leaving.wait(READY_S)

    def restart(self) -> None:
        """Have all workers of the process replaced, by SIGHUP, and wait until the old ones are gone."""
        restart(self._started[-1], self._folder / f"{len(self._started) - 1:04}.log")

    def logs(self) -> str:
        """What all of them have said."""
        return "".join(log.read_text() for log in sorted(self._folder.glob("*.log")))

    def _start(self) -> None:
        log = self._folder / f"{len(self._started):04}.log"
        sockets = {"http": self._http.fileno(), "grpc": self._grpc.fileno()}
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command(("serve", str(self._bundle), *self._options), sockets=sockets, parent=os.getpid()),
                pass_fds=tuple(sockets.values()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stream,
            )
        self._started.append(process)
        _wait_until_ready(process, log)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + READY_S
    while " ready " not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise RuntimeError(f"the service is not ready:\n{log.read_text()}")
        time.sleep(0.02)


def restart(service: subprocess.Popen[bytes], log: Path) -> None:
    """Send SIGHUP, and wait until every worker that was there has ended."""
    over = _restarts_over(log)
    service.send_signal(signal.SIGHUP)
    deadline_s = time.monotonic() + READY_S
    while _restarts_over(log) == over:
        if service.poll() is not None or time.monotonic() > deadline_s:
            raise RuntimeError(f"the service was not restarted:\n{log.read_text()}")
        time.sleep(0.02)


def _restarts_over(log: Path) -> int:
    """How often all workers were replaced: several say so at the end; of one, the process before it has stopped."""
    lines = log.read_text().splitlines()
    taken_over = sum(" a new process takes over " in line for line in lines)
    stopped = sum(" stopped " in line for line in lines)
    return sum(" restarted " in line for line in lines) + min(taken_over, stopped)
