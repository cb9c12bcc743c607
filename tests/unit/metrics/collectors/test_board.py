"""Memory in which one worker leaves what all of them show."""

from __future__ import annotations

import subprocess
import sys

from nimify.metrics.collectors.board import Board
from nimify.metrics.collectors.page import CollectedPage
from nimify.metrics.collectors.samples import MAX_TEXT_BYTES


class Clock:
    """A clock that a test turns."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_places_do_not_touch() -> None:
    """The longest text fits, and the next place keeps its own, however often both are written."""
    board = Board(3)
    for number in range(5):
        long = bytes([65 + number]) * MAX_TEXT_BYTES
        board.put(1, long, good_for_s=60)
        board.put(2, b"short", good_for_s=60)
        assert (board.get(0), board.get(1), board.get(2)) == (None, long, b"short")


def test_what_is_not_renewed_in_time_counts_no_more() -> None:
    """Whatever the reason: nobody has to tell."""
    clock = Clock()
    board = Board(1, now_s=clock)
    board.put(0, b"text", good_for_s=30)
    clock.now_s = 129.9
    assert board.get(0) == b"text"
    clock.now_s = 130
    assert board.get(0) is None
    board.put(0, b"", good_for_s=30)
    assert board.get(0) == b""


def test_what_is_withdrawn_is_gone_at_once() -> None:
    """Until something new is put there."""
    board = Board(1)
    board.put(0, b"text", good_for_s=60)
    board.withdraw(0)
    assert board.get(0) is None
    board.put(0, b"new", good_for_s=60)
    assert board.get(0) == b"new"


def test_half_a_text_is_not_shown() -> None:
    """A reader that is overtaken twice sees a wrong checksum, and gives nothing rather than a mixture."""
    board = Board(1)
    board.put(0, b"text", good_for_s=60)
    board._buffer(0, 1)[5:6] = b"?"
    assert board.get(0) is None


def test_the_page_says_who_works() -> None:
    """In the order of the settings; what failed has no other metric."""
    board = Board(2)
    board.put(0, b"# HELP a A.\n# TYPE a gauge\na 1\n", good_for_s=60)
    assert CollectedPage(["x", 'odd"name'], board).text().split("\n")[1:] == [
        "# TYPE nim_collector_up gauge",
        'nim_collector_up{collector="x"} 1',
        'nim_collector_up{collector="odd\\"name"} 0',
        "# HELP a A.",
        "# TYPE a gauge",
        "a 1",
        "",
    ]


def test_without_collectors_the_page_is_empty() -> None:
    """Not even a head."""
    assert CollectedPage([], Board(0)).text() == ""


_FORKING = """
import os
from nimify.metrics.collectors.board import Board

board = Board(1)
pid = os.fork()
if pid == 0:
    board.put(0, b"from the child", good_for_s=600)
    os._exit(0)
os.waitpid(pid, 0)
print(board.get(0).decode())
"""


def test_a_real_child_process_leaves_text_for_its_parent() -> None:
    """Which reads it after the child's death."""
    # In a process of its own: forking one that has threads, as this one may, is what Python warns of.
    result = subprocess.run([sys.executable, "-c", _FORKING], capture_output=True, text=True, check=True)
    assert result.stdout == "from the child\n"
