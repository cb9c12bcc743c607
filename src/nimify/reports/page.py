"""The page around the sections: its head, its style, and the policy that keeps it from asking anybody anything."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from nimify.reports.markup import Content, Markup, element, join


def page(title: str, content: Sequence[Content]) -> str:
    """A whole HTML document; it loads nothing, runs nothing, and looks the same without a network."""
    style = files("nimify.reports").joinpath("style.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        # Without it browsers ask the server for /favicon.ico.
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Markup(style)),
    )
    body = element("body", element("main", *content))
    return f"<!DOCTYPE html>\n{join(element('html', head, body, lang='en'))}\n"


def _policy(style: str) -> str:
    """Nothing but this one style sheet, by its digest, and images that are in the page itself."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
