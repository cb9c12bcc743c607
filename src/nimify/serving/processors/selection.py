"""Which tensor a step works on, for processors that work on one and pass the others through."""

from __future__ import annotations

import difflib

from nimify.errors import ConfigError
from nimify.serving.processors.processor import Specs
from nimify.tensors import TensorSpec


def select(specs: Specs, name: str | None, *, step: str) -> TensorSpec:
    """The tensor of that name, or the only one when no name is given.

    Raises:
        ConfigError: There is no such tensor, or no name is given and there are several.
    """
    names = [spec.name for spec in specs]
    if name is None:
        if len(specs) == 1:
            return specs[0]
        raise ConfigError(
            f"there are {len(specs)} tensors here, so the step must say which one it works on.",
            field=f"{step}.tensor",
            remedy=f"Set it to one of: {', '.join(names)}.",
        )
    for spec in specs:
        if spec.name == name:
            return spec
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    raise ConfigError(
        f"there is no tensor named '{name}' here.", field=f"{step}.tensor", remedy=f"{hint}Known: {', '.join(names)}."
    )


def replace(specs: Specs, name: str, *new: TensorSpec) -> Specs:
    """The same tensors with one of them replaced, in its place, by one or more others."""
    return tuple(item for spec in specs for item in (new if spec.name == name else (spec,)))
