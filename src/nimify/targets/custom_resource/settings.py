"""What `--set` means to the targets of custom resources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nimify.errors import ConfigError
from nimify.targets.settings import typed

_SECRET: Final = re.compile(r"|[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_MOST_REPLICAS: Final = 10_000


@dataclass(frozen=True, slots=True)
class ResourceSettings:
    """How the resource is filled in.

    Attributes:
        pull_secret: The Secret that the registry is asked with; empty for none.
        replicas: A fixed number of them, in the place of any scaling; 0 for what the bundle says.
        monitor: `on`, or `off` for a cluster without the Prometheus Operator.
    """

    pull_secret: str = ""
    replicas: int = 0
    monitor: str = "on"

    @classmethod
    def parse(cls, given: Mapping[str, str], *, target: str) -> ResourceSettings:
        """Settings as they were typed.

        Raises:
            ConfigError: One is unknown or wrong.
        """
        settings = cls(**typed(cls, given, target=target))
        if not _SECRET.fullmatch(settings.pull_secret):
            raise ConfigError(f"'{settings.pull_secret}' is no name of a Secret.", field="--set pull_secret")
        if settings.replicas > _MOST_REPLICAS:
            raise ConfigError(f"must be at most {_MOST_REPLICAS}.", field="--set replicas")
        if settings.monitor not in {"on", "off"}:
            raise ConfigError(f"must be on or off, not '{settings.monitor}'.", field="--set monitor")
        return settings
