"""Where at a cloud: what `--namespace` says of region, project, resource group and workspace."""

from __future__ import annotations

import re
from typing import Final

from nimify.errors import ConfigError

_PART: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,88}[A-Za-z0-9])?")


def parts_of(namespace: str, names: tuple[str, ...]) -> dict[str, str]:
    """A namespace such as `my-project/europe-west4` as its parts by name.

    Args:
        namespace: As it was typed; of its parts, those in front may be left out, and all of them.
        names: What the parts are called, in order.

    Raises:
        ConfigError: It is none.
    """
    given = namespace.split("/") if namespace else []
    if len(given) > len(names) or not all(_PART.fullmatch(part) for part in given):
        form = "/".join(name.upper() for name in names)
        raise ConfigError(f"'{namespace}' is none here.", field="--namespace", remedy=f"Write it as {form}.")
    return dict(zip(names[len(names) - len(given) :], given, strict=True))


def options_of(namespace: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """The same as options of a tool: `--project=my-project --region=europe-west4`."""
    return tuple(f"--{name}={part}" for name, part in parts_of(namespace, names).items())
