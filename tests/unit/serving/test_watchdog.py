"""The watchdog: it ends a process whose engine hangs, and no other."""

from __future__ import annotations

import io
import os

import pytest

from nimify.serving.logs import Log
from nimify.serving.watchdog import EXIT_HUNG, LEAST_S, EngineWatchdog


@pytest.mark.parametrize(
    ("taken_s", "request_timeout_s", "ends"),
    [
        (0.0, 60.0, False),
        (119.0, 60.0, False),
        (121.0, 60.0, True),
        (LEAST_S - 1, 0.1, False),
        (LEAST_S + 1, 0.1, True),
    ],
)
def test_a_run_longer_than_anybody_waits_ends_the_process(taken_s: float, request_timeout_s: float, ends: bool) -> None:
    """In a child of ours, which says why in its log and tells it by its status."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        stream = io.TextIOWrapper(os.fdopen(writer, "wb", buffering=0), write_through=True)
        EngineWatchdog(lambda: taken_s, request_timeout_s=request_timeout_s, log=Log(stream=stream)).check()
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        log = said.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == (EXIT_HUNG if ends else 0)
    assert ("the engine hangs" in log) is ends
