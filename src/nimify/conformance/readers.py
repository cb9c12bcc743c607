"""Programs of others that read a bundle's files: where they can harm nothing, and with a deadline.

Those of `nimify.programs` work for this user, with this user's settings. These read what anybody may have written: they
get an argument list, a home of their own that is gone afterwards, nothing of this user's settings, and proxies
that lead nowhere. What they write is kept up to a limit, and is nothing but data.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nimify.conformance.report import CheckResult, skipped
from nimify.errors import one_line, shortened

_TIMEOUT_S: Final = 60.0
_CHUNK: Final = 1 << 16
_MAX_BYTES: Final = 8 << 20
_MAX_DATA_BYTES: Final = 2 << 30
_LONGEST: Final = 240
# What a program needs to start, and nothing that it could betray.
_ENVIRONMENT: Final = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH")
_NOWHERE: Final = "http://127.0.0.1:9"
_SETTINGS: Final = {"HTTP_PROXY": _NOWHERE, "HTTPS_PROXY": _NOWHERE, "HELM_NO_PLUGINS": "1", "NO_COLOR": "1"}

_running: set[subprocess.Popen[bytes]] = set()
_lock: Final = threading.Lock()


class NoAnswer(Exception):
    """A program did not run to its end; the text says why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program said.

    Attributes:
        code: Its status; negative when a signal ended it.
        output: What it wrote to standard output.
        errors: What it wrote to standard error.
    """

    code: int
    output: str
    errors: str

    @property
    def words(self) -> list[str]:
        """The lines that it wrote, errors first, without those that are empty."""
        return [line.strip() for line in f"{self.errors}\n{self.output}".splitlines() if line.strip()]

    def document(self) -> Any:
        """Its output as JSON.

        Raises:
            ValueError: It is none.
        """
        try:
            return json.loads(self.output)
        except RecursionError:
            raise ValueError("it nests too deep") from None


@dataclass(frozen=True, slots=True)
class Reader:
    """A program that reads files of a bundle, found by its name.

    Attributes:
        name: E.g. `helm`.
        install: One sentence: how to get it.
        environment: Set for every call.
        timeout_s: How long a call may take.
    """

    name: str
    install: str
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = _TIMEOUT_S

    @property
    def path(self) -> str | None:
        """Where it is; `None` when it is not installed."""
        found = shutil.which(self.name)
        return None if found is None else str(Path(found).absolute())  # it works in another folder than we do

    def missing(self, check: str, files: str) -> CheckResult:
        """The result of a check that needs it where it is not installed."""
        return skipped(check, f"{files} was not read, because {self.name} is not installed.", self.install)

    def ask(self, *arguments: str, folder: Path) -> Answer:
        """Run it to its end.

        Args:
            arguments: Those of the program.
            folder: Where it works; relative paths start there.

        Raises:
            NoAnswer: It cannot be started, takes too long, or writes too much.
        """
        command = [self.path or self.name, *arguments]
        return ask(command, folder=folder, environment=self.environment, timeout_s=self.timeout_s)


def ask(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str] | None = None, timeout_s: float = _TIMEOUT_S
) -> Answer:
    """Run a program to its end; see `Reader.ask`."""
    name = Path(command[0]).name
    with tempfile.TemporaryDirectory(prefix="nimify-home-") as home:
        settings = {**_environment(Path(home)), **(environment or {})}
        with _started(command, folder, settings) as process:
            _limit(process.pid)
            try:
                output, errors = _collected(process, time.monotonic() + timeout_s)
            except TimeoutError:
                raise NoAnswer(f"{name} did not end within {timeout_s:.0f} seconds.") from None
            except OverflowError:
                raise NoAnswer(f"{name} wrote more than {_MAX_BYTES >> 20} MiB.") from None
    return Answer(process.returncode, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace"))


def reason(answer: Answer, words: Sequence[str] | None = None) -> str:
    """Why a program refuses a file, in one line of bounded length."""
    text = one_line(" ".join(answer.words if words is None else words))
    return shortened(text, _LONGEST) or _ending(answer.code)


def _ending(code: int) -> str:
    if code >= 0:
        return f"it ended with {code}."
    return f"a signal ended it ({signal.strsignal(-code) or -code})."


def end_readers() -> None:
    """End every program that runs now, for whoever cannot wait for its deadline."""
    with _lock:
        for process in _running:
            _kill(process)


@contextlib.contextmanager
def _started(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            process_group=0,  # so that its children end with it
        )
    except OSError as error:
        raise NoAnswer(f"{Path(command[0]).name} cannot be run ({error.strerror}).") from error
    with process:
        with _lock:
            _running.add(process)
        try:
            yield process
        finally:
            with _lock:
                _running.discard(process)
            _kill(process)


def _collected(process: subprocess.Popen[bytes], deadline_s: float) -> tuple[bytes, bytes]:
    """What a program writes until it ends.

    Raises:
        TimeoutError: It does not end in time.
        OverflowError: It writes too much.
    """
    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for stream, kept in ((process.stdout, output), (process.stderr, errors)):
            if stream is not None:
                selector.register(stream, selectors.EVENT_READ, kept)
        while selector.get_map():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            for key, _ in selector.select(left_s):
                if not (chunk := os.read(key.fd, _CHUNK)):
                    selector.unregister(key.fileobj)
                key.data.extend(chunk)
                if len(key.data) > _MAX_BYTES:
                    raise OverflowError
    try:
        process.wait(max(deadline_s - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return bytes(output), bytes(errors)


def _limit(pid: int) -> None:
    """Bound its memory; not its address space, which some reserve by the terabyte and never touch."""
    for kind, wanted in ((resource.RLIMIT_DATA, _MAX_DATA_BYTES), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ProcessLookupError):  # It ended already; its status tells.
            _, hard = resource.prlimit(pid, kind)
            value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.prlimit(pid, kind, (value, value))


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:  # not collected yet, so the number is still its own
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return {**kept, **_SETTINGS, "HOME": str(home), "TMPDIR": str(home)}
