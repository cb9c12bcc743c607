"""Runs a job in a child process that cannot harm this one: it may crash, hang or swallow memory.

The child gets its job as JSON on standard input, and writes what it found into a private folder: `result.json`, and
files that this names. The limits are set before the job is sent, so nothing hostile runs without them. Nothing is
pickled, and what the child prints is kept out of sight.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nimify.errors import EnvironmentProblem, ModelError, UnsupportedModel, one_line, shortened

RESULT_FILE: Final = "result.json"
TRIAL_RUN: Final = "its trial run"

_MAX_RESULT_BYTES: Final = 16 << 20
_STDERR_FILE: Final = "stderr.txt"
_STDERR_TAIL_BYTES: Final = 2000
_MAX_SENTENCE: Final = 500
_SKIP_TRIAL: Final = "If you trust the model, skip the trial run with --no-trial."
_GIB: Final = 1 << 30
# What a child needs to start and nothing that it could betray.
_ENVIRONMENT: Final = (
    "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "NIMIFY_PLUGINS", "PATH", "PYTHONHOME", "PYTHONPATH", "TMPDIR",
)  # fmt: skip
# On large machines the thread pools of numerical libraries alone would fill the address space.
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """What a child may use.

    Attributes:
        memory_bytes: Address space.
        wall_s: Seconds on the clock.
        cpu_s: Seconds of processor time; as many as on the clock when left out.
        file_bytes: Length of any file that it writes.
    """

    memory_bytes: int = 4 * _GIB
    wall_s: int = 120
    cpu_s: int | None = None
    file_bytes: int = 2 * _GIB

    @classmethod
    def for_model(cls, size_bytes: int) -> GuardLimits:
        """Room for a model of that size: engines hold weights several times while they rearrange them."""
        return cls(
            memory_bytes=max(4 * _GIB, 6 * size_bytes + 2 * _GIB),
            wall_s=120 + size_bytes // (50 << 20),
        )


def run_guarded(
    command: Sequence[str],
    job: Mapping[str, Any],
    *,
    folder: Path,
    source: str,
    limits: GuardLimits,
    activity: str = TRIAL_RUN,
    max_result_bytes: int = _MAX_RESULT_BYTES,
) -> dict[str, Any]:
    """Run a job in a child process and return what it wrote to `RESULT_FILE`.

    Args:
        command: The program and its arguments.
        job: What it reads from standard input, as JSON.
        folder: A private folder; the child works in it and writes its results there.
        source: Name of the model file, for messages.
        limits: What the child may use.
        activity: What the child does, for messages.
        max_result_bytes: Length of the result file.

    Raises:
        ModelError: The child crashed, took too long or too much memory, or failed without saying why.
        EnvironmentProblem: The child could not be started.
    """
    with (folder / _STDERR_FILE).open("wb") as stderr:
        child = _start(command, folder, stderr.fileno())
        try:
            _limit(child.pid, limits)
            child.communicate(json.dumps(job).encode(), timeout=limits.wall_s)
        except subprocess.TimeoutExpired:
            raise ModelError(
                source,
                f"{activity} took longer than {limits.wall_s} seconds.",
                remedy=_SKIP_TRIAL if activity == TRIAL_RUN else "",
            ) from None
        finally:
            _kill_group(child)
    _log.debug("guarded child %s ended with %s: %s", child.pid, child.returncode, _tail(folder / _STDERR_FILE))
    if child.returncode < 0:
        raise ModelError(
            source, _crash_cause(-child.returncode, activity), remedy="Check it with onnx.checker; it may be unsafe."
        )
    return _result(folder, child.returncode, source, activity, max_result_bytes)


def _start(command: Sequence[str], folder: Path, stderr: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            cwd=folder,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _ONE_THREAD,
            start_new_session=True,
        )
    except OSError as error:
        raise EnvironmentProblem(f"The trial run cannot be started ({error.strerror}).") from error


def _limit(pid: int, limits: GuardLimits) -> None:
    for kind, wanted in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.wall_s if limits.cpu_s is None else limits.cpu_s),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            _, hard = resource.prlimit(pid, kind)
            value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.prlimit(pid, kind, (value, value))
        except ProcessLookupError:
            return  # It ended already; its status tells.


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started, and collect its status."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # All gone already.
        os.killpg(child.pid, signal.SIGKILL)
    if child.stdin is not None:
        child.stdin.close()
    child.wait()


def _crash_cause(number: int, activity: str) -> str:
    if number == signal.SIGXCPU:
        return f"{activity} took too much processor time."
    if number == signal.SIGKILL:
        return f"{activity} was killed, probably for want of memory."
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"it crashed the loader ({name})." if activity == TRIAL_RUN else f"it crashed {activity} ({name})."


def _result(folder: Path, status: int, source: str, activity: str, max_bytes: int) -> dict[str, Any]:
    try:
        result = json.loads(read_file(folder / RESULT_FILE, max_bytes))
    except (OSError, ValueError):
        result = None
    if not isinstance(result, dict):
        raise ModelError(source, f"{activity} failed without saying why (status {status}).")
    error = result.get("error")
    if error is None:
        return result
    raise _error(error, source)


def _error(error: Any, source: str) -> ModelError:
    fields = error if isinstance(error, dict) else {}
    cause, remedy = (shortened(one_line(str(fields.get(key, ""))), _MAX_SENTENCE) for key in ("cause", "remedy"))
    kind = ModelError if fields.get("supported", True) else UnsupportedModel
    return kind(source, cause, remedy=remedy)


def read_file(path: Path, limit: int) -> bytes:
    """A file that the child wrote; never through a link, and never more than `limit` bytes.

    Raises:
        OSError: It cannot be read.
        ValueError: It is longer.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"'{path.name}' is longer than {limit} bytes")
    return data


def _tail(path: Path) -> str:
    return one_line(path.read_bytes()[-_STDERR_TAIL_BYTES:].decode("utf-8", "replace"))
