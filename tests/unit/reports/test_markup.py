"""Markup: whatever a model calls its tensors, it stays text."""

from __future__ import annotations

import pytest

from nimify.reports.markup import LONGEST_NAME, Markup, element, join, plain

HOSTILE = "<script>alert(1)</script>\"'&"


def test_text_is_escaped_wherever_it_stands() -> None:
    """Content and attributes alike."""
    made = element("p", HOSTILE, title=HOSTILE)

    assert "<script" not in made
    assert made.count("&lt;script&gt;") == 2
    assert made.count('"') == 2


def test_markup_is_kept_and_nothing_is_left_out() -> None:
    """Elements nest; `None` and empty text vanish."""
    assert element("b", element("i", "x"), None, "", "&") == "<b><i>x</i>&amp;</b>"
    assert join("<", Markup("<")) == "&lt;<"


def test_attributes_are_named_and_numbered_as_html_wants_them() -> None:
    """Hyphens, reserved words, short numbers, and void elements."""
    assert element("line", class_="a", text_anchor="end", x1=1.0, x2=1 / 3, y=None) == (
        '<line class="a" text-anchor="end" x1="1" x2="0.33"/>'
    )


@pytest.mark.parametrize("name", ["a\u202eb", "a\nb", "a\x00b", "\ud800", "a\u200bb"])
def test_names_lose_what_cannot_be_seen(name: str) -> None:
    """Direction overrides, control characters and broken text become visible escapes."""
    assert plain(name).isprintable()
    plain(name).encode()


def test_names_are_cut() -> None:
    """A name of a megabyte does not make a page of a megabyte."""
    assert len(plain("x" * 10**6)) == LONGEST_NAME


def test_a_number_stays_with_its_unit() -> None:
    """No line breaks between them; words after a number are left alone."""
    assert join("10 % of 16.1 GB in 2 ms, 8 nodes") == (
        "10\N{NO-BREAK SPACE}% of 16.1\N{NO-BREAK SPACE}GB in 2\N{NO-BREAK SPACE}ms, 8 nodes"
    )
