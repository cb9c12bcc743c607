"""How the things of one release are named at a cloud: a number that counts up, and what is in it.

`r3-1f8a2c`: the third release, and the beginning of a digest over all that was asked for. So no cloud needs to be asked
what a release was made of: the same digest is the same release.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

_TAG: Final = re.compile(r"r(?P<number>[1-9][0-9]{0,5})-(?P<digest>[0-9a-f]{6})")
_DIGITS: Final = 6


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """The name of a release.

    Attributes:
        number: Counts up from 1.
        digest: The beginning of the digest over what is in it.
    """

    number: int
    digest: str

    @classmethod
    def parse(cls, text: str, *, before: str = "") -> Self | None:
        """Read a tag, perhaps behind a service's name and a hyphen; `None` when it is none of ours."""
        match = _TAG.fullmatch(text.removeprefix(before)) if text.startswith(before) else None
        return None if match is None else cls(int(match["number"]), match["digest"])

    def __str__(self) -> str:
        return f"r{self.number}-{self.digest}"


def digest_of(files: Mapping[str, bytes]) -> str:
    """The digest of a release, as tags have it, over its files by name."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return digest.hexdigest()[:_DIGITS]
