"""What a signature says: the files of a folder with their digests, as an in-toto statement."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, Self

from nimify.errors import BundleDamaged
from nimify.signing.envelope import SIGN_AGAIN

_STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
_ALGORITHM: Final = "sha256"
_METHOD: Final = "files"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class SignedManifest:
    """The signed files of a folder.

    Attributes:
        name: What the signer called the model; informative.
        files: Hex SHA-256 of each file, by its path in the folder.
        ignored: Files and folders that the signature leaves out.
    """

    name: str
    files: Mapping[str, str]
    ignored: tuple[str, ...] = ()

    def ignores(self, path: str) -> bool:
        """Whether the signature leaves a file out."""
        return any(path == place or path.startswith(f"{place}/") for place in self.ignored)

    def statement(self) -> bytes:
        """What is signed; the same for the same files."""
        paths = sorted(self.files, key=PurePosixPath)
        resources = [{"name": path, "algorithm": _ALGORITHM, "digest": self.files[path]} for path in paths]
        statement = {
            "_type": _STATEMENT_TYPE,
            "subject": [{"name": self.name, "digest": {_ALGORITHM: _root_digest(self.files[path] for path in paths)}}],
            "predicateType": _PREDICATE_TYPE,
            "predicate": {
                "serialization": {
                    "method": _METHOD,
                    "hash_type": _ALGORITHM,
                    "allow_symlinks": False,
                    "ignore_paths": sorted(self.ignored),
                },
                "resources": resources,
            },
        }
        return json.dumps(statement, indent=2).encode()

    @classmethod
    def from_statement(cls, statement: bytes, *, name: str) -> Self:
        """The inverse of `statement`, for ours and for those of other tools.

        Args:
            statement: The payload of a signature that was found right.
            name: Of the signature file, for errors.

        Raises:
            BundleDamaged: It says something that is not understood, and so cannot be checked.
        """
        try:
            return cls._parsed(json.loads(statement))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BundleDamaged(
                f"'{name}' does not list files by SHA-256 as version 1.0 of the model-signing format does.",
                remedy=SIGN_AGAIN,
            ) from error

    @classmethod
    def _parsed(cls, statement: Any) -> Self:
        if statement["_type"] != _STATEMENT_TYPE or statement["predicateType"] != _PREDICATE_TYPE:
            raise ValueError("another statement")
        (subject,) = statement["subject"]
        serialization = statement["predicate"]["serialization"]
        if serialization["method"] != _METHOD or serialization["hash_type"] != _ALGORITHM:
            raise ValueError("another serialization")
        resources = statement["predicate"]["resources"]
        files = dict(_entry(resource) for resource in resources)
        if len(files) != len(resources) or subject["digest"][_ALGORITHM] != _root_digest(files.values()):
            raise ValueError("it contradicts itself")
        ignored = tuple(str(path) for path in serialization.get("ignore_paths", ()))
        return cls(str(subject["name"]), files, ignored)


def _entry(resource: Mapping[str, Any]) -> tuple[str, str]:
    path, digest = resource["name"], resource["digest"]
    inside = PurePosixPath(path)
    if not inside.parts or inside.is_absolute() or ".." in inside.parts or str(inside) != path:
        raise ValueError("a path that leaves the folder")
    if resource["algorithm"] != _ALGORITHM or not _SHA256.fullmatch(digest):
        raise ValueError("another digest")
    return path, digest


def _root_digest(digests: Iterable[str]) -> str:
    """One digest over those of all files, in the order in which they are listed."""
    total = hashlib.sha256()
    for digest in digests:
        total.update(bytes.fromhex(digest))
    return total.hexdigest()
