"""Where nimify remembers what it deployed: `$NIMIFY_STATE`, or its place in the XDG state folder.

Only what no engine or cluster remembers by itself is kept here: the services of the process target, and to which target
a service went, so that `nimify status NAME` needs no `--target`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from nimify.errors import ConfigError, EnvironmentProblem
from nimify.filesystem import replace_file

PRIVATE: Final = 0o700
"""Logs hold what clients sent; nobody but the owner needs to read them."""
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a service was last deployed from this machine.

    Attributes:
        target: Name of the target.
        namespace: Of the target, or empty.
    """

    target: str
    namespace: str = ""


def state_folder(environment: Mapping[str, str] | None = None) -> Path:
    """The folder, which need not exist yet."""
    variables = os.environ if environment is None else environment
    if variables.get("NIMIFY_STATE"):
        return Path(variables["NIMIFY_STATE"]).expanduser().absolute()
    base = variables.get("XDG_STATE_HOME", "")
    # The specification of these variables says that a relative path is to be ignored.
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return root / "nimify"


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter.

    Raises:
        EnvironmentProblem: It cannot be made.
    """
    try:
        path.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"The folder '{path}' cannot be made ({error.strerror}).",
            remedy="Name another place for nimify's records in NIMIFY_STATE.",
        ) from error
    return path


def checked_name(name: str) -> str:
    """The name of a service, which becomes the name of folders, containers and releases.

    Raises:
        ConfigError: It is none.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"'{name}' is neither a bundle nor the name of a service.",
            remedy="Name the bundle's folder, or the service: small letters, digits and hyphens.",
        )
    return name


def write_json(path: Path, data: Any) -> None:
    """Replace a file by a JSON document in one step."""
    replace_file(path, f"{json.dumps(data, indent=2)}\n".encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; `None` when there is none that can be read."""
    try:
        data: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def remember(name: str, placement: Placement) -> None:
    """Note to which target a service went."""
    write_json(private_folder(state_folder() / "placements") / f"{checked_name(name)}.json", asdict(placement))


def forget(name: str) -> None:
    """Remove that note."""
    (state_folder() / "placements" / f"{checked_name(name)}.json").unlink(missing_ok=True)


def placement_of(name: str) -> Placement | None:
    """Where a service was last deployed from this machine; `None` when it was not."""
    data = read_json(state_folder() / "placements" / f"{checked_name(name)}.json")
    if data is None or not all(isinstance(data.get(key), str) for key in ("target", "namespace")):
        return None
    return Placement(data["target"], data["namespace"])
