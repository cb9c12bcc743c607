"""HTML that is safe by construction: text becomes markup only through `element`, which escapes it.

Names come from strangers' files. `plain` also takes away what could turn the direction of a line or hide in it.
"""

from __future__ import annotations

import html
import re
from typing import Final

from nimify.errors import one_line, shortened

LONGEST_NAME: Final = 80

_VOID: Final = frozenset({"br", "hr", "meta", "link", "rect", "path", "line", "circle"})
_BEFORE_UNIT: Final = re.compile(r"(?<=\d) (?=%|(?:[kMGT]i?)?B\b|m?s\b)")


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Content = str | None
"""What an element may hold: markup, text that is still to be escaped, or nothing."""


def element(tag: str, *content: Content, **attributes: str | float | None) -> Markup:
    """One element with its content; everything but `Markup` is escaped.

    Args:
        tag: Its name.
        content: What is in it.
        attributes: By name; underscores stand for hyphens, and one at the end is dropped (`class_`). Those that are
            `None` are left out, and numbers are written with at most two decimals.
    """
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in _VOID and not content:
        return Markup(f"<{tag}{words}/>")
    return Markup(f"<{tag}{words}>{join(*content)}</{tag}>")


def join(*content: Content) -> Markup:
    """Several pieces of content one after the other."""
    return Markup("".join(piece if isinstance(piece, Markup) else _escaped(piece) for piece in content if piece))


def plain(text: object, limit: int = LONGEST_NAME) -> str:
    """Text from a model, on one line, without invisible characters, and not longer than `limit`."""
    return shortened(one_line(str(text)), limit)


def _escaped(text: str) -> str:
    """Text as markup; a line never breaks between a number and its unit."""
    return html.escape(_BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", text))


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
