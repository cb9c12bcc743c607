"""What buildah and podman do alike, because both stand on the same libraries: lay out, build, push."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from nimify.images.build_call import TRANSFER_S, build_arguments, steps_told
from nimify.images.failures import build_failure, push_failure
from nimify.images.image import Progress, Recipe
from nimify.images.reference import ImageName
from nimify.programs import Program, ProgramFailed

_STEP: Final = re.compile(r"((?:\[\d+/\d+\] )?STEP \d+/?\d*: .*)")


def build(program: Program, never_pull: str, recipe: Recipe, progress: Progress) -> str:
    """Build an image; its id.

    Args:
        program: buildah or podman.
        never_pull: Its argument for building on nothing but what is here.
        recipe: What is to be built.
        progress: Told of each step.

    Raises:
        BuildFailed: A step failed; carries its last lines.
    """
    with tempfile.TemporaryDirectory(prefix="nimify-image-") as folder:
        note, context = Path(folder) / "id", Path(folder) / "context"
        recipe.context.lay_out(context)
        arguments = [
            "build",
            *build_arguments(replace(recipe, dockerfile=str(context / recipe.dockerfile))),
            f"--iidfile={note}",
            "--layers",
            never_pull,
            # The format of OCI has no health check.
            "--format=docker",
            "--timestamp=0",
            str(context),
        ]
        try:
            program.follow(*arguments, tell=steps_told(progress, _STEP), timeout_s=recipe.timeout_s)
        except ProgramFailed as error:
            raise build_failure(error) from error
        return note.read_text(encoding="ascii").strip()


def push(program: Program, image_id: str, name: ImageName) -> str:
    """Send an image to its registry; the digest of its manifest there.

    Raises:
        EnvironmentProblem: The registry refuses, or is not to be reached.
    """
    with tempfile.TemporaryDirectory(prefix="nimify-push-") as folder:
        note = Path(folder) / "digest"
        try:
            program.run("push", f"--digestfile={note}", image_id, f"docker://{name}", timeout_s=TRANSFER_S)
        except ProgramFailed as error:
            raise push_failure(str(name), error) from error
        return note.read_text(encoding="ascii").strip()
