"""From any exception to what the user is told: one line, a remedy and an exit code."""

from __future__ import annotations

import errno
import hashlib
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from nimify.errors import NimifyError, one_line, shortened

EXIT_BUG: Final = 70
_EXIT_USAGE: Final = 2
_EXIT_MACHINE: Final = 5
_LONGEST_LINE: Final = 1000
_MACHINE_ERRORS: Final = {
    errno.ENOSPC: "Free some space, or choose another folder with --output.",
    errno.EDQUOT: "Free some space, or choose another folder with --output.",
    errno.EACCES: "Check the permissions, or choose another folder with --output.",
    errno.EPERM: "Check the permissions, or choose another folder with --output.",
    errno.EROFS: "Choose another folder with --output.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENFILE: "Close other programs: the system's table of open files is full.",
    errno.ENAMETOOLONG: "Choose a shorter name or folder.",
    errno.EIO: "Check the disk.",
}
"""What the operating system may refuse, and what to do about it."""


_KINDS: Final = {"integer range": "a whole number", "integer": "a whole number", "float": "a number"}
"""What Click calls a kind of value, and what a person calls it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the program ends without what was asked for.

    Attributes:
        kind: Name of the error class, for scripts.
        message: One line: what happened, and to what.
        exit_code: The process status.
        remedy: One line: what to do next; may be empty.
        is_bug: Whether it is ours to mend, so that a traceback is of use.
    """

    kind: str
    message: str
    exit_code: int
    remedy: str = ""
    is_bug: bool = False

    def to_dict(self) -> dict[str, object]:
        """As plain data: what `--json` prints under `error`."""
        return {"kind": self.kind, "message": self.message, "remedy": self.remedy, "exit_code": self.exit_code}


def describe(error: Exception) -> Failure:
    """What to tell the user of an exception."""
    if isinstance(error, NimifyError):
        return Failure(type(error).__name__, _line(error.message), error.exit_code, _line(error.remedy))
    if isinstance(error, click.UsageError):
        return Failure("UsageError", _line(_usage_message(error)), _EXIT_USAGE, _usage_remedy(error))
    if isinstance(error, click.ClickException):
        return Failure("UsageError", _line(error.format_message()), _EXIT_USAGE)
    if isinstance(error, MemoryError):
        remedy = "Free some, or use a machine that has more."
        return Failure("EnvironmentProblem", "There is not enough memory.", _EXIT_MACHINE, remedy)
    if isinstance(error, OSError) and error.errno in _MACHINE_ERRORS:
        message = f"{error.strerror}: '{error.filename}'." if error.filename else f"{error.strerror}."
        return Failure("EnvironmentProblem", _line(message), _EXIT_MACHINE, _MACHINE_ERRORS[error.errno])
    if isinstance(error, FileNotFoundError) and _working_folder_is_gone():
        message = "The working directory does not exist any more."
        return Failure("EnvironmentProblem", message, _EXIT_MACHINE, "Go to another one with cd, and try again.")
    return Failure(
        "Bug",
        _line(f"nimify met a fault of its own ({type(error).__name__}, id {fingerprint(error)})."),
        EXIT_BUG,
        "Run it again with NIMIFY_DEBUG=1 to see the traceback, and report both.",
        is_bug=True,
    )


def fingerprint(error: BaseException) -> str:
    """Eight characters that are the same whenever the same kind of error comes from the same place."""
    frames = traceback.extract_tb(error.__traceback__)
    trail = [f"{frame.name}:{frame.lineno}" for frame in frames]
    return hashlib.sha256("\n".join([type(error).__qualname__, *trail]).encode()).hexdigest()[:8]


def _working_folder_is_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _usage_remedy(error: click.UsageError) -> str:
    if error.ctx is None:
        return ""
    return f"Try: {error.ctx.command_path} --help"


def _usage_message(error: click.UsageError) -> str:
    """Click's own words, but for those that only its programmers know."""
    message = error.format_message()
    for theirs, ours in _KINDS.items():
        message = message.replace(f"is not a valid {theirs}.", f"is not {ours}.")
    return message


def _line(text: str) -> str:
    return shortened(one_line(" ".join(text.split())), _LONGEST_LINE)
