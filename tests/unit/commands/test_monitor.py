"""`nimify monitor` on a real terminal, in a pipe, and when it is interrupted."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ENTER, LEAVE, SHOW_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"
END_OF_FRAME = "\x1b[?2026l"
_DEADLINE_S = 60.0


class Terminal:
    """`nimify monitor` on a pseudo-terminal."""

    def __init__(self, *arguments: str, columns: int = 100, lines: int = 40) -> None:
        self._master, slave = pty.openpty()
        self._resize(slave, columns, lines)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nimify", "monitor", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"},
        )
        os.close(slave)
        self.text = ""

    @staticmethod
    def _resize(descriptor: int, columns: int, lines: int) -> None:
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        self._resize(self._master, columns, lines)
        self.process.send_signal(signal.SIGWINCH)

    def read_until(self, wanted: Callable[[str], bool]) -> None:
        deadline = time.monotonic() + _DEADLINE_S
        while not wanted(self.text):
            assert time.monotonic() < deadline, self.text
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self._master, 65536).decode("utf-8", "replace")
                except OSError:  # the other end is closed
                    assert wanted(self.text), self.text
                    return

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str, **size: int) -> Terminal:
        opened.append(Terminal(*arguments, **size))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture(scope="module")
def service(make_bundle: Callable[..., Path], start_service: Callable[..., Any]) -> Any:
    return start_service(make_bundle("tiny"))


def frames(text: str) -> int:
    return text.count("requests/s  ")


def test_a_terminal_is_drawn_in_place_and_given_back(terminal: Callable[..., Terminal], service: Any) -> None:
    """It takes the alternate screen once, draws frame over frame, and Ctrl-C gives the terminal back with status 0."""
    shown = terminal(service.url, "--interval", "100ms")
    shown.read_until(lambda text: frames(text) >= 3)

    shown.process.send_signal(signal.SIGINT)

    shown.read_until(lambda text: LEAVE in text)
    assert shown.process.wait(30) == 0
    assert shown.text.count(ENTER) == shown.text.count(LEAVE) == 1
    assert shown.text.rindex(SHOW_CURSOR) > shown.text.rindex("requests/s")
    assert "\x1b[2J" not in shown.text.partition("requests/s")[2], "a cleared screen flickers"
    assert "Traceback" not in shown.text


def test_a_resize_is_drawn_at_once(terminal: Callable[..., Terminal], service: Any) -> None:
    """A new size brings a frame that fits it, without waiting for the next reading."""
    shown = terminal(service.url, "--interval", "1h", columns=120)
    shown.read_until(lambda text: text.endswith(END_OF_FRAME))
    shown.text = ""

    shown.resize(40, 20)

    shown.read_until(lambda text: text.endswith(END_OF_FRAME))
    lines = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", shown.text).split("\r\n")
    assert len(lines) > 10
    assert max(len(line) for line in lines) <= 40


def test_it_goes_on_when_the_replica_dies(
    terminal: Callable[..., Terminal], make_bundle: Callable[..., Path], start_service: Callable[..., Any]
) -> None:
    """A replica that goes away is shown as down, and the screen stays."""
    dying = start_service(make_bundle("tiny"))
    shown = terminal(dying.url, "--interval", "100ms")
    shown.read_until(lambda text: "1 of 1 replicas answer" in text)

    dying.process.kill()
    dying.process.wait()

    shown.read_until(lambda text: "0 of 1 replicas answer" in text)
    assert shown.process.poll() is None


def test_a_pipe_gets_one_plain_line_for_each_reading(service: Any) -> None:
    """Where there is no terminal there are no escape sequences; each line stands for itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nimify", "monitor", service.url, "--interval", "100ms"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    process.kill()
    process.communicate()

    assert all("up=1/1" in line and "\x1b" not in line for line in lines)
    assert "requests/s=n/a" in lines[0]
    assert "requests/s=0" in lines[2]


def test_json_without_a_terminal_is_a_document_a_line(service: Any) -> None:
    """`--json` prints one document for each reading, each on a line of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nimify", "monitor", service.url, "--interval", "100ms", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    documents = [json.loads(process.stdout.readline()) for _ in range(2)]
    process.kill()
    process.communicate()

    assert [document["replicas"][0]["up"] for document in documents] == [True, True]


def test_once_says_by_its_status_that_nothing_answers() -> None:
    """A script learns from status 1 that there is no replica, and reads why in the document."""
    done = subprocess.run(
        [sys.executable, "-m", "nimify", "monitor", "http://127.0.0.1:1", "--once", "--json", "--interval", "100ms"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert json.loads(done.stdout)["missing"] == ["No replica answers, so there is nothing to show."]


def test_once_does_not_say_how_to_end_it(service: Any) -> None:
    """It has ended when it is read."""
    done = subprocess.run(
        [sys.executable, "-m", "nimify", "monitor", service.url, "--once", "--interval", "100ms"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0
    assert "over the last" in done.stdout
    assert "Ctrl-C" not in done.stdout
