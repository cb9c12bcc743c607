"""The contract of a cloud: what differs between the vendors, and nothing of what is the same for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nimify.findings import Finding
from nimify.programs import Program
from nimify.targets.cloud.tag import Tag
from nimify.targets.target import Order


@dataclass(frozen=True, slots=True)
class State:
    """How a service is at a cloud.

    Attributes:
        present: Whether there is anything that could answer.
        live: The release that requests go to; `None` when they go to none of ours.
        settled: Whether nothing is under way.
        healthy: Whether the cloud says that it answers.
        word: The state in the cloud's own word.
        reason: Why it does not answer, or why the last change failed; in the cloud's words.
        url: Where clients reach it; empty when they do so by a name and a library.
    """

    present: bool = False
    live: Tag | None = None
    settled: bool = True
    healthy: bool = False
    word: str = "absent"
    reason: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """What is to run.

    Attributes:
        tag: Its name.
        files: What the vendor's tool is given, by file name.
        folder: Where those files are.
    """

    tag: Tag
    files: Mapping[str, bytes]
    folder: Path

    def file(self, name: str) -> str:
        """The path of one of its files."""
        return str(self.folder / name)


class Cloud(Protocol):
    """One service at a cloud, through the vendor's command line tool.

    Every method that asks or changes the cloud raises `ProgramFailed` with the tool's words.

    Attributes:
        program: The tool.
        tool: What people call it.
        sign_in: The command that signs in.
        longest_name: Most characters that a service's name may have there.
    """

    program: Program
    tool: str
    sign_in: str
    longest_name: int

    def files(self, order: Order, tag: Tag, live: Tag | None) -> Mapping[str, bytes]:
        """What the tool is given for an order.

        Args:
            order: With a bundle and an image.
            tag: The release that it will be.
            live: The release that is live, where the files must name it.

        Raises:
            ConfigError: A setting is unknown or wrong.
        """
        ...

    def findings(self, order: Order) -> Iterator[Finding]:
        """What a person should know of an order before; asks nobody."""
        ...

    def by_hand(self, release: Release, state: State) -> Sequence[str]:
        """The commands that bring a release and switch to it, as a person types them."""
        ...

    def check_signed_in(self) -> None:
        """Ask whether the tool may talk to the cloud."""
        ...

    def state(self) -> State:
        """How the service is."""
        ...

    def releases(self) -> list[Tag]:
        """Those that can be made live again and the live one, the oldest first."""
        ...

    def bring(self, release: Release, state: State, *, timeout_s: float) -> None:
        """Let a release run; whether requests go to it then is up to the cloud."""
        ...

    def switch(self, tag: Tag, *, timeout_s: float) -> None:
        """Let requests go to a release that was brought before."""
        ...

    def ask(self, tag: Tag, body: Path, *, timeout_s: float) -> bytes:
        """What a release answers to a request of the Open Inference Protocol in JSON."""
        ...

    def retire(self, live: Tag) -> None:
        """Let go of what costs and is not needed beside the live release."""
        ...

    def discard(self, tag: Tag) -> None:
        """Remove what a release left that failed."""
        ...

    def stop(self) -> None:
        """Let nothing answer, and nothing cost, any more."""
        ...

    def purge(self) -> None:
        """Remove the releases as well."""
        ...

    def logs(self, *, lines: int, follow: bool) -> Iterator[str]:
        """The last lines that the service wrote."""
        ...
