"""Names of images, by the grammar of OCI registries and nothing looser.

A reference ends up in argument lists, labels and manifests of others, and engines disagree about what they let pass.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from nimify.errors import ConfigError, shortened

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN: Final = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]{{1,5}})?"
_REFERENCE: Final = re.compile(
    rf"(?P<repository>(?:(?P<domain>{_DOMAIN})/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_LONGEST_REPOSITORY: Final = 255
_DEFAULT_REGISTRY: Final = "docker.io"


@dataclass(frozen=True, slots=True)
class ImageName:
    """The name of an image.

    Attributes:
        repository: With the registry, when one is named.
        tag: Empty when none is named.
        digest: `sha256:<hex>`; empty when none is named.
    """

    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str, *, field: str) -> Self:
        """Read a reference such as `registry.example.com/team/digits:1.0`.

        Raises:
            ConfigError: It is none; names `field`, and says what is wrong where that is easily said.
        """
        match = _REFERENCE.fullmatch(text)
        if match is None or len(match["repository"]) > _LONGEST_REPOSITORY:
            raise ConfigError(
                f"'{shortened(text)}' is no name of an image{_why(text)}.",
                field=field,
                remedy="Write [REGISTRY/]REPOSITORY[:TAG], e.g. registry.example.com/team/digits:1.0.",
            )
        return cls(match["repository"], match["tag"] or "", match["digest"] or "")

    def pinned(self, digest: str) -> ImageName:
        """The same repository by digest alone."""
        return ImageName(self.repository, "", digest)

    @property
    def registry(self) -> str:
        """The registry that is named; empty when none is."""
        first, slash, _ = self.repository.partition("/")
        return first if slash and (set(first) & set(".:") or first == "localhost") else ""

    @property
    def full_repository(self) -> str:
        """The repository with what engines leave out of it: `python` is `docker.io/library/python`."""
        registry = self.registry or _DEFAULT_REGISTRY
        path = self.repository.removeprefix(f"{registry}/")
        return (
            f"{registry}/library/{path}" if registry == _DEFAULT_REGISTRY and "/" not in path else f"{registry}/{path}"
        )

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


def _why(text: str) -> str:
    name, _, digest = text.partition("@")
    if not text:
        return ": it is empty"
    if not text.isascii() or not text.isprintable() or " " in text:
        return ": it has characters that names cannot have"
    if digest and not _DIGEST.fullmatch(digest):
        return ": a digest is sha256: and 64 hexadecimal digits"
    if name.rpartition("/")[2].partition(":")[0] != name.rpartition("/")[2].partition(":")[0].lower():
        return ": repositories are written in small letters"
    return ""
