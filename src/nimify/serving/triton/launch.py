"""Between us and Triton: `python -m nimify.serving.triton.launch PARENT PROGRAM ARGUMENTS...`.

Ties the process to the life of its parent, and becomes Triton. It stands between because only the process itself can
ask the kernel for that, and code between fork and exec of a process with threads may hang.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from nimify.serving.parent import die_with_parent


def command(program: str, arguments: Sequence[str]) -> list[str]:
    """The command line that starts a program that does not outlive this process."""
    return [sys.executable, "-m", __name__, str(os.getpid()), program, *arguments]


def main(arguments: Sequence[str]) -> None:
    """Become the program; does not return."""
    parent, program, *rest = arguments
    die_with_parent()
    if os.getppid() != int(parent):
        sys.exit(0)  # it ended before the kernel was asked
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # what our supervisor blocks, Triton must hear
    os.execv(program, [program, *rest])  # noqa: S606 - a program that was looked up, without a shell


if __name__ == "__main__":
    main(sys.argv[1:])
