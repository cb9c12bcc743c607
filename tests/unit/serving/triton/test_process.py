"""A child that stands for Triton: started, heard, stopped, and never left behind."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from nimify.serving.logs import Log
from nimify.serving.triton.launch import command
from nimify.serving.triton.output import TritonOutput
from nimify.serving.triton.process import TritonProcess

Play = Callable[[str, Callable[[TritonProcess], Awaitable[None]]], str]


@pytest.fixture
def play() -> Play:
    """Start a shell script as Triton, play a scene with it, and give back what was logged."""

    def played(script: str, scene: Callable[[TritonProcess], Awaitable[None]]) -> str:
        stream = io.StringIO()

        async def run() -> None:
            output = TritonOutput("m", Log("debug", stream=stream))
            process = TritonProcess.start("/bin/sh", ["-c", script], output)
            try:
                async with asyncio.timeout(30):
                    await scene(process)
            finally:
                process.kill()
                await process.ended.wait()

        asyncio.run(run())
        return stream.getvalue()

    return played


def test_everything_that_it_wrote_is_logged_before_it_counts_as_ended(play: Play) -> None:
    """The reason for its end is among its last lines."""

    async def scene(process: TritonProcess) -> None:
        await process.ended.wait()
        assert process.ending == "its exit code is 3"
        assert "no such thing" in process.output.failure(process.ending).message

    log = play("echo hello; echo 'error: no such thing' >&2; exit 3", scene)
    assert "hello" in log


def test_it_is_asked_to_stop_and_waited_for(play: Play) -> None:
    """What it does on the way out is done."""

    async def scene(process: TritonProcess) -> None:
        await asyncio.to_thread(_until_trapped, process.pid)
        process.terminate()
        await process.ended.wait()
        assert process.ending == "its exit code is 0"

    assert "goodbye" in play("trap 'echo goodbye; exit 0' TERM; while :; do sleep 0.05; done", scene)


def _until_trapped(pid: int) -> None:
    """Wait until the shell catches SIGTERM, by the kernel's word."""
    deadline_s = time.monotonic() + 20
    while True:
        caught = [row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("SigCgt:")]
        if int(caught[0].split()[1], 16) & 1 << signal.SIGTERM - 1 and b"sleep" in _command_line(pid):
            return
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_what_it_started_ends_with_it(play: Play, tmp_path: Path) -> None:
    """As Triton's own helpers: a pipe that they hold open does not keep the end from being seen."""
    note = tmp_path / "helper"

    async def scene(process: TritonProcess) -> None:
        while not (note.exists() and note.read_text().endswith("\n")):
            await asyncio.sleep(0.01)
        helper = int(note.read_text())
        os.kill(process.pid, signal.SIGKILL)
        await process.ended.wait()
        assert process.ending == "it was ended by SIGKILL"
        while _alive(helper):  # the kernel takes a moment to carry out a SIGKILL
            await asyncio.sleep(0.01)

    play(f"sleep 1000 & echo $! > '{note}'; wait", scene)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_it_does_not_outlive_its_parent() -> None:
    """Also when the parent is killed and can do nothing about it."""
    code = (
        "import subprocess, sys; from nimify.serving.triton.launch import command;"
        "child = subprocess.Popen(command('/bin/sleep', ['1000'])); print(child.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        deadline_s = time.monotonic() + 30
        while _command_line(child) != b"/bin/sleep\x001000\x00":
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        parent.kill()
    while _alive(child):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_launcher_whose_parent_is_gone_starts_nothing() -> None:
    """It may have ended before the kernel could be asked."""
    line = command("/bin/echo", ["started"])
    line[3] = "1"  # as if somebody else had started it
    done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "")
