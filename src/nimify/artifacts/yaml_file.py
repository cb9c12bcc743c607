"""YAML as every reader of it understands it: written from data, without anchors, and with nothing left to guess at."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from nimify.artifacts.artifact import Artifact

_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9_./:-]*[A-Za-z0-9_/]|[A-Za-z]")
"""Text that no reader takes for anything else, whatever its version of YAML, but for the words below."""
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_EXPRESSION: Final = re.compile(r"[A-Za-z0-9][ -~]*[!-~]")
"""Printable ASCII on one line: what PromQL is made of, and what a block holds as it stands."""


class _PlainDumper(yaml.SafeDumper):
    """Writes for readers of YAML 1.1 and 1.2 alike."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=_style(data))

    def ignore_aliases(self, data: Any) -> bool:
        return True  # an anchor helps nobody who reads the file


_PlainDumper.add_representer(str, _PlainDumper.represent_str)


def _style(text: str) -> str | None:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return None
    # Quotes within quotes are hard to read; a block has neither.
    return "|" if '"' in text and _EXPRESSION.fullmatch(text) else '"'


def yaml_text(data: Any) -> str:
    """Data as YAML in block style, keys in the order given.

    Beyond ASCII everything is written as an escape: no line end or direction mark is there to be misread.
    """
    return yaml.dump(data, Dumper=_PlainDumper, sort_keys=False, allow_unicode=False, width=1 << 30)


def yaml_artifact(path: str, data: Any, *, header: str = "") -> Artifact:
    """Data as a YAML file.

    Args:
        path: Where it goes, relative to the bundle.
        data: Plain data.
        header: Lines of text that stand above it as a comment; never text from a model.
    """
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    return Artifact(path, (comment + yaml_text(data)).encode())
