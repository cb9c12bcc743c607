"""cosign: signatures of images, kept beside them in their registry; by a key, and without a log of signatures."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final

from nimify.errors import ConfigError, EnvironmentProblem
from nimify.images.build_call import QUICK_S
from nimify.images.reference import ImageName
from nimify.programs import Program, ProgramFailed, variables

NAME: Final = "cosign"
_TIMEOUT_S: Final = 300.0
_PREFIX: Final = "COSIGN_"
_PASSWORD: Final = f"{_PREFIX}PASSWORD"
_DECIDES_NOTHING: Final = (
    "ALLOW_HTTP_REGISTRY",
    "ALLOW_INSECURE_REGISTRY",
    "DOCKER_MEDIA_TYPES",
    "PASSWORD",
    "REPOSITORY",
)
"""Variables that say how registries are reached; any other may set an option of cosign's, such as --check-claims."""
_ELSEWHERE: Final = re.compile(r"(awskms|azurekms|gcpkms|hashivault|openbao|k8s)://\S+", re.ASCII)
_VARIABLE: Final = re.compile(r"env://([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_NO_LOG: Final = ("--use-signing-config=false", "--tlog-upload=false")
_NO_LOG_ASKED: Final = "--insecure-ignore-tlog=true"
"""What tells who signed is the key. A log that anybody can read would have to be told of every private image."""
_SIGNATURES: Final = frozenset({"https://sigstore.dev/cosign/sign/v1", "cosign container image signature"})
"""What a signature of an image calls itself; a signed statement about one, such as a list of packages, is none."""


class NotSigned(Exception):
    """An image is not signed with a key; the text says why, in one sentence."""


def check_key(key: str, *, field: str) -> None:
    """See that cosign is there, and that it can sign with a key; signs nothing.

    Args:
        key: A file, `env://NAME`, or a key of a key store as cosign names it.
        field: What it was given as, for messages.

    Raises:
        ConfigError: There is no such key, or its password is wrong.
        EnvironmentProblem: There is no cosign.
    """
    reference, program = _key(key, field=field), _cosign()
    try:
        program.run("public-key", "--key", reference, stdin="", timeout_s=QUICK_S)
    except ProgramFailed as error:
        raise ConfigError(
            f"cosign cannot sign with '{key}': {_said(error)}.",
            field=field,
            remedy=f"Its password comes from {_PASSWORD}. Make a key with: cosign generate-key-pair",
        ) from error


def sign(image: ImageName, key: str, *, field: str) -> None:
    """Sign an image that is in its registry, and put the signature there.

    Args:
        image: By its digest.
        key: See `check_key`.
        field: What the key was given as.

    Raises:
        ConfigError, EnvironmentProblem: See `check_key`; or the registry takes no signature.
    """
    arguments = ("sign", "--yes", *_NO_LOG, "--key", _key(key, field=field), str(image))
    try:
        _cosign().run(*arguments, stdin="", timeout_s=_TIMEOUT_S)
    except ProgramFailed as error:
        raise EnvironmentProblem(
            f"{image} is in its registry, and is not signed: {_said(error)}.",
            remedy=f"Sign it with: cosign sign {' '.join(_NO_LOG)} --key KEY {image}",
        ) from error


def verified(image: ImageName, key: str, *, field: str) -> ImageName:
    """An image by the digest that is signed with a key, whatever its tag will lead to later.

    Args:
        image: By digest or by tag.
        key: The public key; see `check_key`.
        field: What the key was given as.

    Raises:
        NotSigned: It is not, or its registry cannot be asked.
        ConfigError, EnvironmentProblem: See `check_key`.
    """
    arguments = ("verify", _NO_LOG_ASKED, "--check-claims=true", "--output", "json", "--key", _key(key, field=field))
    try:
        found = _cosign().json(*arguments, str(image), timeout_s=_TIMEOUT_S)
    except ProgramFailed as error:
        raise NotSigned(f"{image} is not signed with the key '{key}': {_said(error)}.") from error
    digests = {digest for row in found if (digest := _signed_digest(row))} if isinstance(found, list) else set()
    if len(digests) != 1 or (image.digest and image.digest not in digests):
        raise NotSigned(f"{image} has no signature with the key '{key}', though cosign finds something else signed.")
    return image.pinned(*digests)


def _signed_digest(row: Any) -> str:
    try:
        critical = row["critical"]
        return str(critical["image"]["docker-manifest-digest"]) if critical["type"] in _SIGNATURES else ""
    except (KeyError, TypeError):
        return ""


def _key(key: str, *, field: str) -> str:
    """A key as cosign is told of it."""
    if _ELSEWHERE.fullmatch(key):
        return key
    if match := _VARIABLE.fullmatch(key):
        if not os.environ.get(match[1]):
            raise ConfigError(f"the environment has no '{match[1]}', which should hold the key.", field=field)
        return key
    path = Path(key)
    if "://" in key or not path.is_file():
        remedy = "Name a file, or env://NAME for the content of a variable."
        raise ConfigError(f"there is no key '{key}'.", field=field, remedy=remedy)
    return str(path.absolute())


def _cosign() -> Program:
    program = Program(
        NAME,
        # Without one, cosign would ask whoever sits at the terminal.
        environment={_PASSWORD: os.environ.get(_PASSWORD, "")},
        without=variables(_PREFIX, but=_DECIDES_NOTHING),
    )
    if program.path is None:
        raise EnvironmentProblem(
            "There is no cosign command on this machine, and signatures of images are its to make and to check.",
            remedy="Install cosign 3, from your distribution or from sigstore's releases.",
        )
    return program


def _said(error: ProgramFailed) -> str:
    """What cosign says is wrong, without its farewell."""
    return str(error).removeprefix("error during command execution: ").rstrip(".")
