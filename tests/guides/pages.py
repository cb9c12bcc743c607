"""The guides as the tests read them: fenced blocks, and the commands in them.

What the opening fence says after its language is for us; nobody sees it on the rendered page:

    console                    commands behind `$ `, each with what it prints; a line `…` stands for any others
    console needs=docker       only a suite that has Docker can run them
    yaml append=PATH           the reader adds this to a file; `title=PATH` makes the file
    python                     a client, run as it stands
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
GUIDES: Final = ROOT / "docs" / "guide"
INDEX: Final = GUIDES / "README.md"
_FENCE: Final = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_ROW: Final = re.compile(r"^\| \[[^\]]+\]\((?P<page>[^)]+)\) \| `(?P<command>[^`]+)` \|", re.MULTILINE)
SHELLS: Final = {"console", "sh", "bash", "shell"}


@dataclass(frozen=True)
class Command:
    """What a reader types.

    Attributes:
        text: The command, its continuation lines included.
        shown: What the page shows of its output.
        line: Of the page.
    """

    text: str
    shown: tuple[str, ...]
    line: int

    @property
    def fails(self) -> bool:
        """Whether the page shows that it does."""
        return any(line.startswith("Error: ") for line in self.shown)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: The first word of its fence.
        options: The others, `name=value`.
        body: What is between the fences.
        line: Of its fence.
    """

    language: str
    options: dict[str, str]
    body: str
    line: int

    @property
    def needs(self) -> str:
        """What only some suites have; empty when each has it."""
        return self.options.get("needs", "")

    @cached_property
    def commands(self) -> tuple[Command, ...]:
        """The commands of a `console` block."""
        return tuple(_commands(self.body, self.line)) if self.language == "console" else ()


@dataclass(frozen=True)
class Page:
    """One guide."""

    path: Path
    blocks: tuple[Block, ...] = field(default_factory=tuple)

    @classmethod
    def read(cls, path: Path) -> Page:
        """The guide in a file."""
        text = path.read_text(encoding="utf-8")
        return cls(path, tuple(_block(match, text) for match in _FENCE.finditer(text)))

    @property
    def name(self) -> str:
        """Of the file."""
        return self.path.name

    def needs(self) -> set[str]:
        """What its commands need."""
        return {block.needs for block in self.blocks if block.commands}


def guides() -> list[Page]:
    """Every guide."""
    return [Page.read(path) for path in sorted(GUIDES.glob("*.md"))]


def guides_that_need(what: str) -> list[Page]:
    """The guides with a command that needs something."""
    return [page for page in guides() if what in page.needs()]


def never_run() -> set[tuple[str, str]]:
    """The page and the text of each command that the list in docs/guide/README.md says no test runs."""
    return {(match["page"], match["command"]) for match in _ROW.finditer(INDEX.read_text(encoding="utf-8"))}


def _block(match: re.Match[str], text: str) -> Block:
    language, *words = match["info"].split() or [""]
    options = dict(word.partition("=")[::2] for word in words)
    return Block(language, options, match["body"], text.count("\n", 0, match.start()) + 1)


def _commands(body: str, fence: int) -> Iterator[Command]:
    """Split at `$ `; a command goes on while a backslash or a quote leaves it open."""
    lines = body.splitlines()
    place = 0
    while place < len(lines):
        assert lines[place].startswith("$ "), f"line {fence + 1 + place}: a console block begins with a command"
        start, text = place, lines[place][2:]
        place += 1
        while _open(text) and place < len(lines):
            text += "\n" + lines[place]
            place += 1
        shown = place
        while place < len(lines) and not lines[place].startswith("$ "):
            place += 1
        yield Command(text, tuple(lines[shown:place]), fence + 1 + start)


def _open(text: str) -> bool:
    if text.endswith("\\"):
        return True
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return True
    return False
