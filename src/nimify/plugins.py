"""Extensions, found as entry points. Listing them imports nothing; only the chosen one is loaded.

Built-ins are declared in pyproject.toml the same way as anybody else's. Two with one name in one group are an error,
and `NIMIFY_PLUGINS` (a comma-separated list of distribution names) limits whose entry points count; nimify's own
always do.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from nimify.errors import PluginError

FORMATS: Final = "nimify.formats"
ENGINES: Final = "nimify.engines"
PROCESSORS: Final = "nimify.processors"
COLLECTORS: Final = "nimify.collectors"
TARGETS: Final = "nimify.targets"

_OWN_DISTRIBUTION: Final = "nimify-anything"


@dataclass(frozen=True, slots=True)
class Plugin:
    """An extension that may be loaded.

    Attributes:
        name: What users call it.
        group: Entry-point group, e.g. `nimify.processors`.
        distribution: The package that brings it.
    """

    name: str
    group: str
    distribution: str
    entry_point: EntryPoint

    def load(self) -> Any:
        """Import it.

        Raises:
            PluginError: It cannot be imported.
        """
        try:
            return self.entry_point.load()
        except Exception as error:
            raise PluginError(
                f"The {self.group} plugin '{self.name}' of {self.distribution} cannot be loaded "
                f"({type(error).__name__}: {error}).",
                remedy=f"Reinstall or remove {self.distribution}, or leave it out of NIMIFY_PLUGINS.",
            ) from error


def available(group: str) -> dict[str, Plugin]:
    """The plugins of a group by name, sorted; imports none of them.

    Raises:
        PluginError: Two packages bring the same name.
    """
    found: dict[str, Plugin] = {}
    for entry_point in sorted(entry_points(group=group), key=lambda item: (item.name, item.value)):
        distribution = entry_point.dist.name if entry_point.dist is not None else "unknown"
        if not _allowed(distribution):
            continue
        plugin = Plugin(entry_point.name, group, distribution, entry_point)
        other = found.setdefault(plugin.name, plugin)
        if other.entry_point.value != entry_point.value:
            raise PluginError(
                f"Both {other.distribution} and {distribution} bring a {group} plugin named '{plugin.name}'.",
                remedy="Remove one of the packages, or name only the other in NIMIFY_PLUGINS.",
            )
    return found


def find(group: str, name: str) -> Plugin:
    """The plugin of that name.

    Raises:
        PluginError: There is none; lists those that exist.
    """
    plugins = available(group)
    if name in plugins:
        return plugins[name]
    close = difflib.get_close_matches(name, plugins, n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    raise PluginError(
        f"There is no {group} plugin named '{name}'.",
        remedy=f"{hint}Available: {', '.join(plugins) or 'none'}.",
    )


def _allowed(distribution: str) -> bool:
    chosen = os.environ.get("NIMIFY_PLUGINS")
    if chosen is None or _normalized(distribution) == _OWN_DISTRIBUTION:
        return True
    return _normalized(distribution) in {_normalized(name.strip()) for name in chosen.split(",")}


def _normalized(distribution: str) -> str:
    """The name as package indexes compare it: `My.Plugin` and `my_plugin` are one (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
