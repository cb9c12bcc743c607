"""YAML from a stranger's hand as plain data: without anchors, a few of which outgrow every memory, and not too deep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import yaml

_MAX_DEPTH: Final = 100
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def yaml_documents(text: str) -> list[Any]:
    """The documents of a YAML file.

    Raises:
        ValueError: It is not YAML, has anchors, or nests too deep; says which.
    """
    try:
        _check_events(text)
        return list(yaml.load_all(text, _LOADER))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def first_key(data: Any, picked: Callable[[str, Any], bool]) -> str | None:
    """The first key, at any depth, that is picked by its name and value."""
    if isinstance(data, list):
        return next((found for item in data if (found := first_key(item, picked)) is not None), None)
    if not isinstance(data, dict):
        return None
    for key, value in data.items():
        found = str(key) if picked(str(key), value) else first_key(value, picked)
        if found is not None:
            return found
    return None


def _check_events(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, _LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it uses anchors")
        if isinstance(event, (yaml.CollectionStartEvent, yaml.CollectionEndEvent)):
            depth += 1 if isinstance(event, yaml.CollectionStartEvent) else -1
        if depth > _MAX_DEPTH:
            raise ValueError("it nests too deep")
