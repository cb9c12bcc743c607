"""Bars and strips that grow with the page: the words are HTML, and only the bars themselves are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nimify.reports.markup import Content, Markup, element

_FULL = 100.0
_THICKNESS = 8.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Attributes:
        share: Of the full length, 0 to 1.
        kind: How it is coloured; a class of the style sheet.
        text: What it amounts to, in words.
    """

    share: float
    kind: str
    text: str


def bar_rows(rows: Iterable[tuple[str, Sequence[Bar]]]) -> Markup:
    """Names, each with its bars and what they amount to."""
    return element("dl", *(piece for name, bars in rows for piece in _row(name, bars)), class_="bars")


def strip(parts: Sequence[Bar], title: str) -> Markup:
    """The parts of a whole, side by side."""
    rects, start = [], 0.0
    for part in parts:
        width = _FULL * part.share
        rects.append(element("rect", class_=part.kind, x=start, y=0.0, width=width, height=_THICKNESS))
        start += width
    return _drawing("strip", element("title", title), *rects)


def legend(entries: Iterable[tuple[str, str]]) -> Markup:
    """What the colours stand for: pairs of a class and a meaning."""
    return element(
        "p",
        *(
            element(
                "span", element("svg", element("rect", class_=kind, width=8.0, height=8.0), viewBox="0 0 8 8"), text
            )
            for kind, text in entries
        ),
        class_="legend",
    )


def single_bar(bar: Bar) -> Markup:
    """A bar alone, on its track."""
    width = _FULL * min(max(bar.share, 0.0), 1.0)
    return _drawing(
        "bar",
        element("rect", class_="track", width=_FULL, height=_THICKNESS),
        element("rect", class_=bar.kind, width=width, height=_THICKNESS),
    )


def _row(name: str, bars: Sequence[Bar]) -> list[Markup]:
    lines = [element("div", single_bar(bar), element("span", bar.text)) for bar in bars]
    return [element("dt", name), element("dd", *lines)]


def _drawing(class_: str, *content: Content) -> Markup:
    return element(
        "svg", *content, class_=class_, viewBox=f"0 0 {_FULL:.0f} {_THICKNESS:.0f}", preserveAspectRatio="none"
    )
