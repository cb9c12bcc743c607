"""A revision is tried on a port of its own before anything depends on it."""

from __future__ import annotations

import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.targets.process.instance import Instance
from nimify.targets.process.log_file import LogFile
from nimify.targets.process.settings import ProcessSettings
from nimify.targets.verification import Unfit, verify

_STOP_S: Final = 30.0
_POLL_S: Final = 0.2


class TrialFailed(Exception):
    """A revision does not do what its bundle promises.

    Attributes:
        evidence: The last lines that it wrote.
    """

    def __init__(self, why: str, evidence: tuple[str, ...]) -> None:
        super().__init__(why)
        self.evidence = evidence


def try_out(
    bundle: Bundle, settings: ProcessSettings, *, within_s: float, log: LogFile, headers: Mapping[str, str]
) -> None:
    """Serve a bundle where nobody else asks, hold it to its golden requests, and stop it.

    Raises:
        TrialFailed: It does not load, is not ready in time, or answers wrongly.
    """
    deadline = time.monotonic() + within_s
    with _serving(bundle.path, settings, log) as instance:
        _await_ready(instance, deadline, log)
        try:
            verify(instance.url, bundle, within_s=max(1.0, deadline - time.monotonic()), headers=headers)
        except Unfit as error:
            log.write(instance.read())
            raise TrialFailed(str(error), tuple(instance.tail)) from error


@contextmanager
def _serving(bundle: Path, settings: ProcessSettings, log: LogFile) -> Iterator[Instance]:
    arguments = ("serve", str(bundle), "--host", "127.0.0.1", "--port", "0", *settings.options())
    instance = Instance.start(0, arguments, {})
    try:
        yield instance
    finally:
        instance.signal(signal.SIGINT)
        try:
            instance.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            instance.signal(signal.SIGKILL)
        log.write(instance.read())
        instance.close()


def _await_ready(instance: Instance, deadline: float, log: LogFile) -> None:
    while not instance.ready:
        select.select([instance.pipe], [], [], _POLL_S)
        log.write(instance.read())
        if instance.ended and not instance.ready:
            log.write(instance.read())
            raise TrialFailed(f"It did not start: {instance.last_words}", tuple(instance.tail))
        if time.monotonic() > deadline:
            raise TrialFailed("It was not ready in time.", tuple(instance.tail))
