"""What the targets of Google Cloud have in common."""

from __future__ import annotations

from typing import Final

from nimify.programs import Program, ProgramFailed

GONE: Final = ("cannot find", "not found", "not_found", "could not be found")
"""How gcloud says that there is no such thing."""


def check_signed_in(program: Program) -> None:
    """Ask whether anybody is signed in.

    Raises:
        ProgramFailed: Nobody is.
    """
    arguments = ("auth", "list", "--filter=status:ACTIVE", "--format=value(account)")
    if not program.run(*arguments, timeout_s=20.0).strip():
        raise ProgramFailed("nobody is signed in")
