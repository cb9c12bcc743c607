"""What went wrong with a builder, from its own words to those of the user."""

from __future__ import annotations

import re
from typing import Final

from nimify.errors import BuildFailed, EnvironmentProblem
from nimify.programs import ProgramFailed

_SHOWN: Final = 12
_NOISE: Final = re.compile(r"^(#\d+ )?(sha256:|DONE|CACHED|transferring|\.\.\.|-+$|>>>)|^\s*$")
_NO_SPACE: Final = ("no space left on device", "disk quota exceeded")
_NO_BASE: Final = (
    "failed to resolve source metadata", "pull access denied", "manifest unknown", "failed to load metadata",
    "error creating build container", "initializing source docker://",
)  # fmt: skip
_OFFLINE: Final = (
    "no such host", "temporary failure in name resolution", "connection refused", "i/o timeout",
    "network is unreachable", "server misbehaving", "tls handshake timeout", "x509",
)  # fmt: skip
_DENIED: Final = ("unauthorized", "denied", "authentication required", "no basic auth")


def build_failure(error: ProgramFailed) -> BuildFailed:
    """Why a build failed."""
    evidence = tuple(line for line in error.lines if not _NOISE.match(line))[-_SHOWN:]
    if error.says(*_NO_SPACE):
        return BuildFailed(
            "There is no space left for the image.",
            remedy="Remove images that nobody needs (docker or podman image prune, buildah rmi --prune), or make room.",
            evidence=evidence,
        )
    if error.says("did not end within"):
        return BuildFailed(f"{error}.", remedy="Give it more time with --timeout.", evidence=evidence)
    if error.says(*_NO_BASE):
        return BuildFailed(
            f"The base image cannot be had: {error}.",
            remedy="Name one that this machine has or can fetch with --base.",
            evidence=evidence,
        )
    return BuildFailed(
        f"A step of the build failed: {error}.",
        remedy="Its last lines are above. Where packages could not be fetched, see docs/guide/build.md.",
        evidence=evidence,
    )


def base_missing(name: str, error: ProgramFailed) -> EnvironmentProblem:
    """Why a base image cannot be had."""
    remedy = "Name one that this machine has or can fetch with --base."
    if error.says(*_OFFLINE):
        remedy = (
            f"The registry is out of reach; load the image by hand (docker load), or {remedy[0].lower()}{remedy[1:]}"
        )
    return EnvironmentProblem(f"The base image {name} cannot be fetched: {error}.", remedy=remedy)


def push_failure(name: str, error: ProgramFailed) -> EnvironmentProblem:
    """Why an image was not pushed; it is there all the same."""
    remedy = "The image is on this machine; push it again with --push when the registry takes it."
    if error.says(*_DENIED):
        remedy = "Log in with `docker login` (buildah login, podman login), and check that you may write there."
    return EnvironmentProblem(f"The registry does not take {name}: {error}.", remedy=remedy)
