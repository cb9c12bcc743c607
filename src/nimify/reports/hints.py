"""What would make the model better."""

from __future__ import annotations

from nimify.analysis.hints import Hint
from nimify.reports.blocks import card
from nimify.reports.markup import Markup, element, plain

_LONGEST = 600


def hints_section(hints: tuple[Hint, ...]) -> Markup | None:
    """Each hint with its remedy and what to expect of it."""
    if not hints:
        return None
    return card("Hints", element("ul", *(_item(hint) for hint in hints), class_="findings"))


def _item(hint: Hint) -> Markup:
    return element(
        "li",
        plain(hint.message, _LONGEST),
        element("p", plain(hint.remedy, _LONGEST)),
        element(
            "p",
            element("strong", "Effect: "),
            f"{plain(hint.effect, _LONGEST)} ",
            element("span", plain(hint.basis, _LONGEST), class_="basis"),
        ),
    )
