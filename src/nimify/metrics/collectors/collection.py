"""Runs the collectors of a service: each on a thread of its own, at its own interval, apart from everything else.

No request, no scrape and no shutdown waits for a collector. One that fails or hangs is told of once in the log, and by
`nim_collector_up`, until it works again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from nimify.errors import NimifyError, one_line, shortened
from nimify.metrics.collectors.board import Board
from nimify.metrics.collectors.loader import Claims, LoadedCollector, collector_name, load_collector
from nimify.metrics.collectors.step import CollectorStep

_LEAST_PATIENCE_S: Final = 5.0
_QUIET_S: Final = 600.0
"""A collector that keeps failing and recovering is not logged more often than this."""


class EventLog(Protocol):
    """Where to tell of a collector."""

    def info(self, event: str, **fields: Any) -> None:
        """Write what a person who runs the service wants to see."""
        ...

    def error(self, event: str, **fields: Any) -> None:
        """Write what needs attention."""
        ...


class Collection:
    """The collectors of one service; only one of its workers has them.

    Args:
        steps: The collectors, in the order of their places on the board.
        root: The folder that files named by steps are relative to, and may not leave: the bundle.
        board: Where they leave what they measure.
        log: Told of one that fails, and of one that works again.
    """

    def __init__(self, steps: Sequence[CollectorStep], root: Path, board: Board, log: EventLog) -> None:
        claims = Claims()
        self._runners = [_Runner(step, root, board, place, claims, log) for place, step in enumerate(steps)]

    def __bool__(self) -> bool:
        """Whether there is any collector."""
        return bool(self._runners)

    def start(self) -> None:
        """Begin to collect."""
        for runner in self._runners:
            runner.start()

    def check(self) -> None:
        """Tell of a collector that hangs; to be called now and then."""
        for runner in self._runners:
            runner.check()

    def close(self) -> None:
        """Collect no more; waits for nobody."""
        for runner in self._runners:
            runner.close()


class _Runner:
    """One collector on its thread."""

    def __init__(
        self, step: CollectorStep, root: Path, board: Board, place: int, claims: Claims, log: EventLog
    ) -> None:
        self._step = step
        self._name = collector_name(step.use)
        self._root = root
        self._board = board
        self._place = place
        self._claims = claims
        self._loaded: LoadedCollector | None = None
        self._busy_since_s: float | None = None
        self._patience_s = max(3 * step.interval_s, _LEAST_PATIENCE_S)
        self._closed = threading.Event()
        self._failures = _Failures(self._name, log)

    def start(self) -> None:
        # A daemon: the end of the process must not wait for code that never returns.
        threading.Thread(target=self._run, name=f"nimify-collector-{self._place}", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def check(self) -> None:
        since_s = self._busy_since_s
        if since_s is not None and time.monotonic() - since_s > self._patience_s:
            self._failures.failed(f"it has not come back for more than {self._patience_s:g} seconds")

    def _run(self) -> None:
        while not self._closed.is_set():
            self._busy_since_s = time.monotonic()
            try:
                text = self._collect()
            except BaseException as error:  # noqa: BLE001 - even sys.exit() of somebody's code ends only this attempt
                self._board.withdraw(self._place)
                # Of what is no error at all, only the name: its text is somebody's code as well.
                self._failures.failed(str(error) if isinstance(error, NimifyError) else f"{type(error).__name__}.")
            else:
                self._board.put(self._place, text, good_for_s=self._patience_s)
                self._failures.worked()
            self._busy_since_s = None
            self._closed.wait(self._step.interval_s)

    def _collect(self) -> bytes:
        """Measure; made anew as long as it could not be made, because what it needs may come later than the service."""
        if self._loaded is None:
            loaded = load_collector(self._step.use, self._step.options, self._root)
            self._claims.add(loaded)
            self._loaded = loaded
        return self._loaded.text()


class _Failures:
    """Tells of the beginning of a failure, and of its end when the beginning was told."""

    def __init__(self, name: str, log: EventLog) -> None:
        self._name = name
        self._log = log
        self._failing = False
        self._told = False
        self._told_at_s: float | None = None
        self._lock = threading.Lock()  # the collector's own thread may come back while another says that it hangs

    def failed(self, cause: str) -> None:
        with self._lock:
            if self._failing:
                return
            self._failing = True
            now_s = time.monotonic()
            self._told = self._told_at_s is None or now_s - self._told_at_s >= _QUIET_S
            if self._told:
                self._told_at_s = now_s
                self._log.error("a collector failed", collector=self._name, cause=shortened(one_line(cause), 500))

    def worked(self) -> None:
        with self._lock:
            if self._failing and self._told:
                self._log.info("a collector works again", collector=self._name)
            self._failing = self._told = False
