"""What differs between two servers, and what the documentation says differs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.triton.protocol.outcome import Outcome, Outcomes

PAGE: Final = Path(__file__).parents[3] / "docs/reference/protocol-differences.md"
ABSENT: Final = "nothing"


@dataclass(frozen=True, order=True)
class Difference:
    """One fact that two servers tell otherwise.

    Attributes:
        protocol: `HTTP` or `gRPC`.
        case: What was asked.
        fact: What of the answer.
    """

    protocol: str
    case: str
    fact: str
    triton: str
    here: str


def protocol_of(client: str) -> str:
    """What a client speaks."""
    return "gRPC" if "grpc" in client.lower() else "HTTP"


def differences(client: str, triton: Outcomes, here: Outcomes) -> Iterator[Difference]:
    """Where the outcomes of one client's run are not the same."""
    assert list(triton) == list(here)
    for case, theirs in triton.items():
        for fact, pair in _unequal(theirs, here[case]):
            yield Difference(protocol_of(client), case, fact, *pair)


def _unequal(theirs: Outcome, ours: Outcome) -> Iterator[tuple[str, tuple[str, str]]]:
    if theirs["status"] != ours["status"]:
        yield "status", (theirs["status"], ours["status"])
        return
    for fact in {**theirs, **ours}:
        pair = theirs.get(fact, ABSENT), ours.get(fact, ABSENT)
        if pair[0] != pair[1]:
            yield fact, pair


_CODE: Final = re.compile(r"`([^`]*)`")


@dataclass(frozen=True)
class Listed:
    """One row of the page: a class of differences, `*` in its words standing for anything.

    Attributes:
        row: As it stands in the page.
        why: The reason.
    """

    row: str
    cases: tuple[str, ...]
    facts: tuple[str, ...]
    protocols: tuple[str, ...]
    triton: str
    here: str
    why: str

    def covers(self, difference: Difference) -> bool:
        """Whether a difference is of this class."""
        return (
            difference.protocol in self.protocols
            and any(_fits(case, difference.case) for case in self.cases)
            and any(_fits(fact, difference.fact) for fact in self.facts)
            and _fits(self.triton, difference.triton)
            and _fits(self.here, difference.here)
        )


def _fits(pattern: str, value: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value, re.DOTALL) is not None


def listed() -> list[Listed]:
    """What the page lists: each row of its tables whose first column is called *case*."""
    found: list[Listed] = []
    inside = False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            inside = False
        elif line.startswith("| case |"):
            inside = True
        elif inside and not line.startswith("|---"):
            cases, facts, protocols, triton, here, why = (cell.strip() for cell in line.strip("|").split(" | "))
            found.append(
                Listed(
                    row=line,
                    cases=tuple(_CODE.findall(cases)),
                    facts=tuple(_CODE.findall(facts)),
                    protocols=tuple(protocols.split(", ")),
                    triton=triton.strip("`"),
                    here=here.strip("`"),
                    why=why,
                )
            )
    return found


def merged(seen: Mapping[str, set[Difference]]) -> set[Difference]:
    """Of every client."""
    return set().union(*seen.values())
