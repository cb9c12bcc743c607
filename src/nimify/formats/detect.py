"""Finds the format of a model file among the plugins of `nimify.formats`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from nimify import plugins
from nimify.errors import ModelError, PluginError, UnsupportedModel
from nimify.formats.content import recognised
from nimify.formats.format import ModelFormat
from nimify.formats.model_file import open_model_file, source_name

_HEAD_BYTES: Final = 4096


def detect(path: Path) -> ModelFormat:
    """The format that claims a file.

    Raises:
        ModelError: There is no readable regular file with content at this path.
        UnsupportedModel: No format claims it; says what it looks like.
        PluginError: Two formats claim it, or one cannot be loaded.
    """
    with open_model_file(path) as (descriptor, _):
        head = os.pread(descriptor, _HEAD_BYTES, 0)
    formats = _formats()
    claiming = {name: model_format for name, model_format in formats.items() if model_format.claims(path, head)}
    if len(claiming) > 1:
        names = " and ".join(f"'{name}'" for name in claiming)
        raise PluginError(
            f"The formats {names} all claim '{source_name(path)}'.",
            remedy="Name the packages whose formats you want in NIMIFY_PLUGINS.",
        )
    if not claiming:
        raise _unclaimed(path, head, formats)
    return next(iter(claiming.values()))


def _formats() -> dict[str, ModelFormat]:
    return {name: plugin.load()() for name, plugin in plugins.available(plugins.FORMATS).items()}


def _unclaimed(path: Path, head: bytes, formats: dict[str, ModelFormat]) -> ModelError:
    content = recognised(head)
    if content is not None:
        return UnsupportedModel(source_name(path), f"it is {content.what}.", remedy=content.remedy)
    return UnsupportedModel(
        source_name(path),
        "it is not a model in a known format, or it is damaged.",
        remedy=f"Known formats: {', '.join(formats) or 'none'}.",
    )
