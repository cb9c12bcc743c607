"""The command line of the package."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import tools.cluster
from tools.cluster import cluster, programs
from tools.cluster.daemons import DaemonFailed
from tools.cluster.machine import NotOurs


def main(arguments: Sequence[str]) -> int:
    """Do what is asked; the exit code."""
    verbs: dict[tuple[str, ...], Callable[[], None]] = {
        ("build",): programs.build,
        ("up",): cluster.up,
        ("down",): cluster.down,
    }
    act = verbs.get(tuple(arguments))
    if act is None:
        sys.stderr.write(f"{tools.cluster.__doc__}\n")
        return 2
    try:
        act()
    except (DaemonFailed, NotOurs, programs.NotBuilt) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
