"""Between a parent and the service that it starts: `... serving.launch PARENT NAMES DESCRIPTORS... -- PROGRAM...`.

Puts the passed sockets where the convention of socket activation wants them, ties the process to its parent's life,
and becomes the program after `--`. It stands between because the convention names the process's own id, which nobody
knows before it exists.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from nimify.serving.parent import die_with_parent

_FIRST_PASSED: Final = 3


def command(program: Sequence[str], *, sockets: Mapping[str, int], parent: int) -> list[str]:
    """The command line that starts a program with sockets.

    Args:
        program: Its command line.
        sockets: Listening sockets by name; the descriptors must be passed on under these numbers.
        parent: Process id of whoever starts it, whose end it does not survive.
    """
    descriptors = [str(descriptor) for descriptor in sockets.values()]
    names = ":".join(sockets)
    return [sys.executable, "-m", __name__, str(parent), names, *descriptors, "--", *program]


def main(arguments: Sequence[str]) -> None:
    """Become the program; does not return."""
    parent, names, *rest = arguments
    split = rest.index("--")
    die_with_parent()
    if os.getppid() != int(parent):
        sys.exit(0)  # it ended before the kernel was asked
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # a parent that waits for signals has them blocked
    _place([int(descriptor) for descriptor in rest[:split]])
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LISTEN_")}
    if split:
        environment |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(split), "LISTEN_FDNAMES": names}
    program = rest[split + 1 :]
    os.execve(program[0], program, environment)  # noqa: S606 - ourselves


def _place(descriptors: Sequence[int]) -> None:
    """Renumber the sockets to 3, 4 and so on, by way of numbers that none of them has."""
    spare = _FIRST_PASSED + len(descriptors) + max(descriptors, default=0)
    moved = [os.dup2(descriptor, spare + index) for index, descriptor in enumerate(descriptors)]
    for index, descriptor in enumerate(moved):
        os.dup2(descriptor, _FIRST_PASSED + index, inheritable=True)
        os.close(descriptor)


if __name__ == "__main__":
    main(sys.argv[1:])
