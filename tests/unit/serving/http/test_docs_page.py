"""The documentation page, as a file: it needs nothing but the service, and takes no text for markup."""

from __future__ import annotations

import re
from importlib.resources import files


def page() -> str:
    return files("nimify.serving.http").joinpath("docs_page.html").read_text(encoding="utf-8")


def test_it_loads_nothing_from_elsewhere() -> None:
    """No address of another host, no external script, style, font or image."""
    text = page()
    assert re.findall(r"https?://[^\s\"'<]+", text) == []
    assert re.findall(r"<(?:script|img|iframe|link)[^>]*\ssrc=", text) == []
    assert re.findall(r"<link[^>]*href=\"(?!data:)[^\"]*\"", text) == []
    assert "@import" not in text
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style


def test_it_never_turns_text_into_markup() -> None:
    """Names from a stranger's model must stay text: none of the doors to markup or code is used."""
    doors = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc")
    assert [door for door in doors if door in page()] == []


def test_a_strict_content_security_policy_can_hold_it() -> None:
    """One inline script and one inline style, and no handlers or styles in attributes, so hashes can allow it."""
    text = page()
    assert text.count("<script") == 1
    assert text.count("<style") == 1
    assert re.findall(r"<[a-z]+[^>]*\s(?:on[a-z]+|style)=", text) == []
