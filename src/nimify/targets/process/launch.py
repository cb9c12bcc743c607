"""How `nimify` is started with sockets that somebody else opened."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from nimify.serving import launch


def command(arguments: Sequence[str], *, sockets: Mapping[str, int], parent: int) -> list[str]:
    """The command line that starts `nimify` with these arguments.

    Args:
        arguments: Of `nimify`.
        sockets: Listening sockets by name; the descriptors must be passed on under these numbers.
        parent: Process id of whoever starts it, whose end it does not survive.
    """
    return launch.command((sys.executable, "-m", "nimify", *arguments), sockets=sockets, parent=parent)
