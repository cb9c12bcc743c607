"""The `tritonserver` of this machine: found, and asked which options it has."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nimify.errors import EnvironmentProblem
from nimify.serving.triton.settings import DEFAULT_PROGRAM

_CONTAINER_PATH: Final = "/opt/tritonserver/bin/tritonserver"
"""Where NVIDIA's images have it."""
_HELP_TIMEOUT_S: Final = 60.0
_OPTION: Final = re.compile(r"^\s*(?:-[a-z], )?(--[a-z][a-z0-9-]+)", re.MULTILINE)
_REMEDY: Final = (
    "Run in NVIDIA's Triton image, or name the program with --triton-server or NIMIFY_TRITON_SERVER; "
    "without Triton, leave out --engine triton."
)


@dataclass(frozen=True, slots=True)
class TritonProgram:
    """A `tritonserver` that can be started.

    Attributes:
        path: Where it is.
        options: Its options, by name; releases differ in them.
    """

    path: str
    options: frozenset[str]


def find_program(name: str) -> TritonProgram:
    """Find the program, and read its own help; blocks.

    Raises:
        EnvironmentProblem: There is none, it does not run, or it is something else.
    """
    path = shutil.which(name)
    if path is None and name == DEFAULT_PROGRAM and Path(_CONTAINER_PATH).is_file():
        path = _CONTAINER_PATH
    if path is None:
        raise EnvironmentProblem(f"There is no program '{name}'.", remedy=_REMEDY)
    options = frozenset(_OPTION.findall(_help(path)))
    if "--model-repository" not in options:
        raise EnvironmentProblem(f"'{path}' is not Triton's tritonserver: its --help names no options.", remedy=_REMEDY)
    return TritonProgram(path, options)


def _help(path: str) -> str:
    try:
        done = subprocess.run(
            [path, "--help"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_HELP_TIMEOUT_S,
            check=False,  # it ends with 1 after its help
        )
    except OSError as error:
        raise EnvironmentProblem(f"'{path}' cannot be started ({error.strerror}).", remedy=_REMEDY) from error
    except subprocess.TimeoutExpired as error:
        raise EnvironmentProblem(f"'{path} --help' does not come to an end.", remedy=_REMEDY) from error
    return done.stdout.decode("utf-8", "replace")
