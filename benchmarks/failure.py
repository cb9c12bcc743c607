"""Why a benchmark ends early."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class BenchmarkFailed(Exception):
    """It cannot go on; the message is one line that says why."""

    exit_code = 1


class RunFailed(BenchmarkFailed):
    """A contestant or the load generator did not do its work."""


class NoAnswer(RunFailed):
    """A request was not answered, or not with an answer that can be read."""


class MissingTool(BenchmarkFailed):
    """This machine lacks a program; the message says how to get it."""

    exit_code = 5


@contextlib.contextmanager
def blaming(name: str) -> Iterator[None]:
    """Say whose failure it was that happened inside."""
    try:
        yield
    except RunFailed as failure:
        raise RunFailed(f"{name}: {failure}") from failure
