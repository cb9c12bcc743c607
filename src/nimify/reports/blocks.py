"""The pieces that sections are made of: cards, tables, tiles, badges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from nimify.reports.markup import Content, Markup, element

_VERDICTS: Final = {True: "yes", False: "no"}


def card(title: str, *content: Content, basis: str = "", lead: str = "") -> Markup:
    """A section with its title.

    Args:
        title: What it is about.
        content: What it says.
        basis: What it rests on, e.g. `estimated`; shown beside the title.
        lead: One or two sentences that say the main thing first.
    """
    mark = element("span", basis, class_="basis") if basis else None
    return element("section", element("h2", title, mark), element("p", lead, class_="lead") if lead else None, *content)


def table(head: Sequence[str], rows: Iterable[Sequence[Content]], *, numbers: Iterable[int] = ()) -> Markup:
    """A table whose first column holds names; the columns of `numbers` are set flush right."""
    right = frozenset(numbers)
    classes = ["number" if column in right else "name" if column == 0 else None for column in range(len(head))]
    header = element("tr", *(element("th", text, class_=_head(kind)) for text, kind in zip(head, classes, strict=True)))
    body = [
        element("tr", *(element("td", cell, class_=kind) for cell, kind in zip(row, classes, strict=True)))
        for row in rows
    ]
    return element(
        "div",
        element("table", element("thead", header), element("tbody", *body)),
        class_="scroll",
        tabindex="0",
    )


def tiles(facts: Iterable[tuple[str, str, str]]) -> Markup:
    """The main facts, each with a name and a note."""
    return element(
        "div",
        *(
            element("dl", element("dt", name), element("dd", value), element("dd", note), class_="tile")
            for name, value, note in facts
        ),
        class_="tiles",
    )


def badge(text: str, kind: str) -> Markup:
    """A word with a colour: `yes`, `no`, `partly`, or a severity."""
    return element("span", text, class_=f"badge {kind}")


def verdict(holds: bool, text: str = "") -> Markup:
    """Yes or no."""
    return badge(text or _VERDICTS[holds], _VERDICTS[holds])


def note(text: str) -> Markup:
    """A remark in small letters."""
    return element("p", text, class_="note")


def _head(kind: str | None) -> str | None:
    return kind if kind == "number" else None
