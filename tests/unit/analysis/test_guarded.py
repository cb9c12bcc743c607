"""The guarded child: whatever the job does, this process gets an answer or an error."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nimify.analysis.guarded import GuardLimits, read_file, run_guarded
from nimify.errors import EnvironmentProblem, ModelError, UnsupportedModel

LIMITS = GuardLimits(memory_bytes=1 << 30, wall_s=20, file_bytes=1 << 20)

_PROLOGUE = "import json, os, sys, signal, resource, time; job = json.load(sys.stdin)\n"
_ANSWER = "\nopen('result.json', 'w').write(json.dumps(result))"


def guarded(code: str, folder: Path, *, limits: GuardLimits = LIMITS, job: dict[str, Any] | None = None) -> Any:
    command = [sys.executable, "-c", _PROLOGUE + code]
    return run_guarded(command, job or {}, folder=folder, source="model.onnx", limits=limits)


def test_a_result_comes_back(tmp_path: Path) -> None:
    """The job goes in as JSON, and the result comes out as JSON."""
    assert guarded("result = {'twice': job['n'] * 2}" + _ANSWER, tmp_path, job={"n": 21}) == {"twice": 42}


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL"])
def test_a_crash_is_an_error_that_names_the_signal(name: str, tmp_path: Path) -> None:
    """A loader that crashes takes only the child with it."""
    with pytest.raises(ModelError, match=rf"Cannot use 'model\.onnx': it crashed the loader \({name}\)"):
        guarded(f"signal.signal(signal.{name}, signal.SIG_DFL); os.kill(os.getpid(), signal.{name})", tmp_path)


def test_a_real_segmentation_fault_is_an_error(tmp_path: Path) -> None:
    """Reading address 0 in native code is what damaged loaders do."""
    with pytest.raises(ModelError, match="SIGSEGV"):
        guarded("import ctypes; ctypes.string_at(0)", tmp_path)


def test_a_job_that_hangs_is_ended(tmp_path: Path) -> None:
    """The wall clock counts, not the processor's, and what the job started ends with it."""
    limits = GuardLimits(wall_s=8)
    code = "pid = os.fork()\nif pid: open('pid', 'w').write(str(pid))\ntime.sleep(600)"
    start = time.monotonic()

    with pytest.raises(ModelError, match="took longer than 8 seconds"):
        guarded(code, tmp_path, limits=limits)

    assert time.monotonic() - start < 60
    assert not _runs(int((tmp_path / "pid").read_text()))


def _runs(pid: int, *, within_s: float = 30.0) -> bool:
    """Whether a process goes on running; one that was killed may take a moment, and may wait to be collected."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        if state == "Z":
            return False
        time.sleep(0.02)
    return True


def test_a_job_that_computes_for_ever_is_ended(tmp_path: Path) -> None:
    """Processor time has a limit of its own."""
    code = "resource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile True: pass"

    with pytest.raises(ModelError, match="too much processor time"):
        guarded(code, tmp_path)


def test_a_job_that_swallows_memory_is_stopped(tmp_path: Path) -> None:
    """Two gigabytes do not fit where one is allowed; this process does not grow."""
    with pytest.raises(ModelError, match="failed without saying why"):
        guarded("bytearray(2 << 30)", tmp_path)


def test_limits_hold_before_the_job_arrives(tmp_path: Path) -> None:
    """The child sees its limits as soon as it sees its job."""
    code = (
        "result = [resource.getrlimit(k)[0] for k in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)]"
    )

    found = guarded(code + "\nresult = {'limits': result}" + _ANSWER, tmp_path)

    assert found == {"limits": [1 << 30, 1 << 20, 0]}


def test_files_have_a_limit(tmp_path: Path) -> None:
    """A child cannot fill the disk through one file."""
    with pytest.raises(ModelError, match="failed without saying why"):
        guarded("open('big', 'wb').write(bytes(4 << 20))", tmp_path)

    assert (tmp_path / "big").stat().st_size <= 1 << 20


def test_secrets_of_the_environment_stay_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child gets the few variables that it needs to start."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")

    found = guarded("result = {'values': list(os.environ.values())}" + _ANSWER, tmp_path)

    assert "canary" not in found["values"]


def test_what_the_child_prints_is_not_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither output nor errors of native libraries reach the terminal."""
    guarded("print('out'); print('err', file=sys.stderr); result = {}" + _ANSWER, tmp_path)

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "code",
    [
        "pass",
        "raise SystemExit(3)",
        "open('result.json', 'w').write('[1]')",
        "open('result.json', 'w').write('{')",
        "os.symlink('/proc/self/environ', 'result.json')",
        "os.mkfifo('result.json')",
        "os.mkdir('result.json')",
    ],
)
def test_a_result_that_is_none_is_an_error(code: str, tmp_path: Path) -> None:
    """A child that was taken over cannot make this process wait, follow a link or crash."""
    with pytest.raises(ModelError, match="failed without saying why"):
        guarded(code, tmp_path)


def test_an_error_of_the_child_arrives_on_one_line(tmp_path: Path) -> None:
    """Its words are data: cut, and without control characters."""
    code = "result = {'error': {'cause': 'bad\\n\\x1b[31m' + 'x' * 5000, 'remedy': 'Stop.', 'supported': False}}"

    with pytest.raises(UnsupportedModel) as caught:
        guarded(code + _ANSWER, tmp_path)

    assert str(caught.value).startswith(r"Cannot use 'model.onnx': bad\n\x1b[31mxxx")
    assert len(str(caught.value)) < 700


def test_a_program_that_does_not_exist_is_a_problem_of_the_machine(tmp_path: Path) -> None:
    """The model is not to blame."""
    with pytest.raises(EnvironmentProblem, match="cannot be started"):
        run_guarded([str(tmp_path / "nothing")], {}, folder=tmp_path, source="m", limits=LIMITS)


def test_limits_grow_with_the_model() -> None:
    """A model of 10 GB may use more than a small one, and every model may use 4 GiB."""
    assert GuardLimits.for_model(1000).memory_bytes == 4 << 30
    assert GuardLimits.for_model(10 << 30).memory_bytes == 62 << 30
    assert GuardLimits.for_model(10 << 30).wall_s > GuardLimits.for_model(0).wall_s


def test_reading_a_file_of_the_child_is_bounded(tmp_path: Path) -> None:
    """A file that grew beyond what was asked for is refused."""
    path = tmp_path / "tensor.bin"
    path.write_bytes(b"12345")
    os.link(path, tmp_path / "same")

    assert read_file(path, 5) == b"12345"
    with pytest.raises(ValueError, match="longer than 4 bytes"):
        read_file(path, 4)
