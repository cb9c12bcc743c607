"""build.json: what was built from a bundle, and what was measured while it proved itself.

It lies in the bundle beside what nimify generates, and is none of it: a measurement is another one each time, and a
bundle is the same for the same inputs. `create` keeps it as it keeps every file of the owner's.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nimify.errors import EnvironmentProblem
from nimify.filesystem import replace_file
from nimify.findings import Finding
from nimify.images.image import Base, ImageRef
from nimify.images.proof import Measured

RECORD_FILE: Final = "build.json"
_SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """What came of a build.

    Attributes:
        image: The image.
        family: Its runtime family.
        builder: What built it, with its version.
        base: What it is built on.
        inputs: Digest over everything that went into it.
        model_digest: Of the model in it.
        wheel_digest: Of the nimify in it.
        measured: What the proof measured; `None` when there was none.
        pushed: Whether it is in its registry.
        signed: Whether its signature is there, too.
        findings: What a person should know.
    """

    image: ImageRef
    family: str
    builder: str
    base: Base
    inputs: str
    model_digest: str
    wheel_digest: str
    measured: Measured | None
    pushed: bool
    signed: bool = False
    findings: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain data: the content of build.json."""
        return {
            "schema_version": _SCHEMA_VERSION,
            "image": self.image.to_dict(),
            "family": self.family,
            "builder": self.builder,
            "base": {"name": self.base.name, "digest": self.base.digest, "id": self.base.id},
            "inputs": self.inputs,
            "model_digest": self.model_digest,
            "wheel_digest": self.wheel_digest,
            "proven": self.measured is not None,
            "measured": None if self.measured is None else self.measured.to_dict(),
            "pushed": self.pushed,
            "signed": self.signed,
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def save(self, bundle: Path) -> None:
        """Put it into the bundle, in the place of the one before.

        Raises:
            EnvironmentProblem: The bundle cannot be written to.
        """
        target = bundle / RECORD_FILE
        try:
            replace_file(target, (json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n").encode())
        except OSError as error:
            raise EnvironmentProblem(
                f"The image is built, and '{target}' cannot be written ({error.strerror}).",
                remedy="Check the permissions of the bundle.",
            ) from error


def last_build(bundle: Path) -> dict[str, Any]:
    """The record of the build before; empty when there is none that can be read."""
    with suppress(OSError, ValueError):
        data = json.loads((bundle / RECORD_FILE).read_bytes())
        if isinstance(data, dict) and data.get("schema_version") == _SCHEMA_VERSION:
            return data
    return {}
