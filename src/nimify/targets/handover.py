"""The files that a target gives to a place's own tools, kept so that a person can give them by hand as well.

They are written by a dry run, too: what it foresees can be read, and applied on another machine. They are records of
nimify and nothing of the place; every run writes them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nimify.errors import EnvironmentProblem
from nimify.filesystem import replace_file
from nimify.targets.state_folder import checked_name, private_folder, state_folder


def hand_over(target: str, name: str, files: Mapping[str, bytes]) -> Path:
    """Write the files of a deployment; the folder that they are in.

    Args:
        target: Name of the target.
        name: Of the service.
        files: Contents by file name.

    Raises:
        EnvironmentProblem: They cannot be written.
    """
    folder = private_folder(state_folder() / target / checked_name(name) / "files")
    for file, content in files.items():
        try:
            replace_file(folder / file, content)
        except OSError as error:
            raise EnvironmentProblem(f"'{folder / file}' cannot be written ({error.strerror}).") from error
    return folder
