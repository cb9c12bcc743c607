"""From settings to collectors: found by name or in a file of the bundle, called with their options, and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nimify.errors import PluginError
from nimify.extensions import factory
from nimify.extensions.source import own_file, source_file
from nimify.extensions.user_code import user_code
from nimify.metrics.collectors.collector import CONTRACT_VERSION, Collector, contract_version
from nimify.metrics.collectors.families import Families, checked_families
from nimify.metrics.collectors.samples import samples_text
from nimify.metrics.collectors.step import CollectorStep
from nimify.plugins import COLLECTORS

_PAGE = "See docs/extending/collectors.md."


@dataclass(frozen=True, slots=True)
class LoadedCollector:
    """A collector that can be asked.

    Attributes:
        name: What its metrics and log lines are named after.
        families: What it describes.
    """

    name: str
    families: Families
    collector: Collector

    @property
    def title(self) -> str:
        """The subject of messages."""
        return title(self.name)

    def text(self) -> bytes:
        """What it measures now, in the text format.

        Raises:
            PluginError: Its code fails, or what it gives is not what it described.
        """
        # Around the reading as well: a generator's code runs only there.
        with user_code(self.title, source_file(self.collector)):
            return samples_text(self.title, self.families, self.collector.collect())


def collector_name(use: str) -> str:
    """What a collector is called: the name of its entry point, or of its class in the owner's file."""
    return use if own_file(use) is None else use.rpartition(":")[2]


def title(name: str) -> str:
    """The subject of messages about a collector."""
    return f"The collector '{name}'"


def load_factory(use: str, root: Path) -> object:
    """The factory that is named: an entry point of `nimify.collectors`, or `file.py:name` under `root`.

    Raises:
        ConfigError: The file lies outside `root`.
        PluginError: There is no such collector, or its code fails.
    """
    return factory.load_factory(COLLECTORS, use, root)


def load_collector(use: str, options: Mapping[str, Any], root: Path) -> LoadedCollector:
    """Make a collector and see what it describes; nothing is measured.

    Args:
        use: What names it.
        options: What it is told.
        root: The folder that files are relative to, and may not leave: the bundle.

    Raises:
        ConfigError: An option is unknown, missing or wrong, or a file lies outside `root`.
        PluginError: There is no such collector, its code fails, or its metrics cannot be exported.
    """
    made_by = load_factory(use, root)
    version = contract_version(made_by)
    if version != CONTRACT_VERSION:
        raise PluginError(
            f"The collector '{use}' is written for version {version!r} of the contract; this is {CONTRACT_VERSION}.",
            remedy=_PAGE,
        )
    return checked(collector_name(use), factory.make("collector", use, made_by, options, root))


def checked(name: str, collector: Any) -> LoadedCollector:
    """A collector and what it describes.

    Raises:
        PluginError: It is no collector, its code fails, or its metrics cannot be exported.
    """
    for method in ("describe", "collect"):
        if not callable(getattr(collector, method, None)):
            raise PluginError(
                f"{title(name)} is a {type(collector).__name__}, which has no method {method}.", remedy=_PAGE
            )
    with user_code(title(name), source_file(collector)):
        described = collector.describe()
    return LoadedCollector(name, checked_families(title(name), described), collector)


def check_collectors(steps: Iterable[CollectorStep], root: Path) -> None:
    """See whether all collectors of a plan can be made, and stand beside each other; nothing is measured.

    Raises:
        ConfigError: An option is unknown, missing or wrong, or a file lies outside `root`.
        PluginError: There is no such collector, its code fails, or its metrics cannot be exported.
    """
    claims = Claims()
    for step in steps:
        claims.add(load_collector(step.use, step.options, root))


class Claims:
    """Which metric belongs to which collector: no two may have the same."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}

    def add(self, loaded: LoadedCollector) -> None:
        """Keep the names of a collector for it.

        Raises:
            PluginError: Another one has a metric of the same name.
        """
        for name in loaded.families:
            owner = self._owners.setdefault(name, loaded.name)
            if owner != loaded.name:
                raise PluginError(
                    f"The collectors '{owner}' and '{loaded.name}' both have a metric '{name}'.",
                    remedy="Rename it in one of them, or use only one.",
                )
