"""Reads the replicas of a service again and again, and goes on when one of them dies."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from nimify.conformance.address import Address
from nimify.conformance.client import Client, NoAnswer
from nimify.errors import ConfigError, EnvironmentProblem, NimifyError, shortened
from nimify.metrics.prometheus_text import Scrape, parse
from nimify.monitoring.change import Change
from nimify.monitoring.picture import Picture, Replica, figures_of, missing_of, replica_of
from nimify.serving.paths import METRICS_PATH

_MOST_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class Source:
    """Where one replica can be read.

    Attributes:
        name: What to call it.
        url: Of the service, or of its metrics when the path says so; empty when it cannot be reached.
        problem: Why it cannot be reached, as far as its target knows.
        ask: Brings its metrics where no URL leads to it; raises `NimifyError`.
    """

    name: str
    url: str
    problem: str = ""
    ask: Callable[[], str] | None = None

    @property
    def key(self) -> str:
        """What tells it from the others."""
        return self.url or self.name

    @classmethod
    def at(cls, url: str) -> Source:
        """A replica by its address.

        Raises:
            ConfigError: It is none.
        """
        address = Address.parse(url)
        return cls(address.authority, address.url)


Discovery: TypeAlias = Callable[[], Sequence[Source]]
"""Asked before every reading, because replicas come and go."""


class Monitor:
    """Takes pictures of a service.

    Args:
        service: Its name, or its address.
        discover: Which replicas there are.
        timeout_s: How long one of them may take to answer.
        headers: Sent to each of them, such as a key.
    """

    def __init__(
        self, service: str, discover: Discovery, *, timeout_s: float = 2.0, headers: Mapping[str, str] | None = None
    ) -> None:
        self._service = service
        self._discover = discover
        self._timeout_s = timeout_s
        self._headers = headers
        self._last: dict[str, Scrape] = {}
        self._sources_before: list[Source] | None = None

    def look(self) -> Picture:
        """Read every replica once. Rates are over the time since the last look."""
        sources, problem = self._sources()
        with ThreadPoolExecutor(max_workers=min(max(len(sources), 1), _MOST_AT_ONCE)) as pool:
            seen = list(pool.map(self._read, sources))
        scrapes: list[Scrape] = []
        changes: list[Change] = []
        replicas: list[Replica] = []
        for source, outcome in zip(sources, seen, strict=True):
            if isinstance(outcome, str):
                self._last.pop(source.key, None)
                replicas.append(Replica(source.name, source.url, up=False, problem=outcome))
                continue
            change = self._change(source, outcome)
            scrapes.append(outcome)
            changes += [] if change is None else [change]
            replica = replica_of(source.name, source.url, outcome, change, now_s=time.time())
            replicas.append(replace(replica, problem=source.problem))
        figures = figures_of(scrapes, changes)
        return Picture(
            service=self._service,
            taken_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            window_s=max((change.seconds for change in changes), default=0.0),
            figures=figures,
            replicas=tuple(replicas),
            missing=(*([problem] if problem else []), *missing_of(scrapes, changes, figures)),
        )

    def _sources(self) -> tuple[list[Source], str]:
        """Where to read now; those of the last time, and why, when a target that has answered does not any more."""
        try:
            self._sources_before = list(self._discover())
        except EnvironmentProblem as error:
            if self._sources_before is None:
                raise
            return self._sources_before, f"Replicas are those of an earlier reading: {shortened(error.message, 160)}"
        return self._sources_before, ""

    def _read(self, source: Source) -> Scrape | str:
        """What a replica says, or why it says nothing."""
        if source.ask is not None:
            try:
                return parse(source.ask(), taken_s=time.monotonic())
            except NimifyError as error:
                return shortened(error.message, 160)
        if not source.url:
            return source.problem or "it cannot be reached from here"
        path = "" if urlsplit(source.url).path.rstrip("/").endswith("metrics") else METRICS_PATH
        try:
            answer = Client(source.url, timeout_s=self._timeout_s, headers=self._headers).get(path)
        except NoAnswer as error:
            return shortened(str(error), 160)
        except ConfigError as error:
            return error.message
        if answer.status == 401:
            return "its metrics want an API key: give it with --api-key-file"
        if answer.status != 200:
            return f"its metrics answered {answer.status}"
        return parse(answer.body.decode("utf-8", "replace"), taken_s=time.monotonic())

    def _change(self, source: Source, scrape: Scrape) -> Change | None:
        earlier = self._last.get(source.key)
        self._last[source.key] = scrape
        return None if earlier is None else Change.between(earlier, scrape)
