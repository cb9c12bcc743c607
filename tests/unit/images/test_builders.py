"""Builders that are missing, do not answer, or fail, told in the user's words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nimify.errors import BuildFailed, ConfigError, EnvironmentProblem
from nimify.images.builders import choose
from nimify.images.docker import DockerBuilder
from nimify.images.failures import build_failure, push_failure
from nimify.images.image import ImageRef
from nimify.images.reference import ImageName
from nimify.programs import ProgramFailed

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a program on an otherwise empty PATH: a script in place of an engine that this machine need not have."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def write(name: str, script: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return write


def test_a_machine_without_builders_says_what_to_install(install: Install) -> None:
    """Every builder that was tried is named."""
    with pytest.raises(EnvironmentProblem) as raised:
        choose("auto")
    assert "There is no docker command" in raised.value.message
    assert "There is no buildah command" in raised.value.message
    assert "There is no podman command" in raised.value.message


def test_an_engine_that_does_not_run_is_no_builder(install: Install) -> None:
    """Its own words are passed on, and the way to another machine's engine."""
    install("docker", "echo 'Cannot connect to the Docker daemon at unix:///x.' >&2; exit 1")
    with pytest.raises(EnvironmentProblem, match="Cannot connect to the Docker daemon") as raised:
        choose("docker")
    assert "DOCKER_HOST" in raised.value.remedy


def test_a_user_who_may_not_use_the_engine_is_told_so(install: Install) -> None:
    """Starting it would not help."""
    install("docker", "echo 'permission denied while trying to connect' >&2; exit 1")
    with pytest.raises(EnvironmentProblem) as raised:
        choose("docker")
    assert "Your user may not use it" in raised.value.remedy


def test_a_client_without_buildx_is_told_so(install: Install) -> None:
    """From release 23 on, BuildKit is a plugin."""
    install("docker", 'case $1 in version) echo "28.2.2 28.2.2";; *) echo "no plugin" >&2; exit 1;; esac')
    with pytest.raises(EnvironmentProblem, match="buildx is missing"):
        choose("docker")


def test_auto_goes_on_to_the_next(install: Install) -> None:
    """Where Docker does not answer, buildah builds."""
    install("docker", "exit 1")
    install("buildah", """echo '{"version": "1.28.2"}'""")
    builder, version = choose("auto")
    assert (builder.name, version) == ("buildah", "1.28.2")


def test_an_unknown_builder_is_refused() -> None:
    """The choices are named."""
    with pytest.raises(ConfigError, match="auto or one of docker, buildah, podman"):
        choose("kaniko")


INSPECT = "case \"$2\" in inspect) echo '%s';; esac; case $1 in pull) %s;; esac"


def test_a_base_is_pinned_by_the_digest_of_its_registry(install: Install) -> None:
    """What is built on cannot change under the name."""
    digest = f"sha256:{'a' * 64}"
    described = f'[{{"Id": "sha256:1", "RepoDigests": ["python@{digest}"]}}]'
    install("docker", INSPECT % (described, "exit 0"))
    base = DockerBuilder().find_base(ImageName.parse("python:3.11", field="--base"), platform="")
    assert (base.name, base.digest, base.findings) == (f"python@{digest}", digest, ())


def test_a_registry_that_does_not_answer_is_a_finding_when_there_is_a_copy(install: Install) -> None:
    """The copy is used, and that it may be old is said."""
    digest = f"sha256:{'a' * 64}"
    described = f'[{{"Id": "sha256:1", "RepoDigests": ["python@{digest}"]}}]'
    install("docker", INSPECT % (described, "echo 'no such host' >&2; exit 1"))
    base = DockerBuilder().find_base(ImageName.parse("python:3.11", field="--base"), platform="")
    assert base.name == f"python@{digest}"
    assert [finding.code for finding in base.findings] == ["base.not-refreshed"]


def test_a_base_without_a_registry_is_never_looked_up(install: Install, tmp_path: Path) -> None:
    """Its short name may be somebody else's in a public registry."""
    install("docker", INSPECT % ('[{"Id": "sha256:1", "RepoDigests": []}]', f": > {tmp_path}/pulled"))
    base = DockerBuilder().find_base(ImageName.parse("ours:1", field="--base"), platform="")
    assert (base.name, [finding.code for finding in base.findings]) == ("ours:1", ["base.not-pinned"])
    assert not (tmp_path / "pulled").exists()


def test_of_several_registries_the_one_that_is_asked_for_pins(install: Install) -> None:
    """One image may lie in more than one, compressed otherwise in each."""
    ours, theirs = (f"sha256:{letter * 64}" for letter in "ab")
    described = f'[{{"Id": "sha256:1", "RepoDigests": ["a.example.com/python@{theirs}", "python@{ours}"]}}]'
    install("docker", INSPECT % (described, "exit 0"))
    base = DockerBuilder().find_base(ImageName.parse("docker.io/library/python:3.11", field="--base"), platform="")
    assert (base.name, base.digest) == (f"python@{ours}", ours)


@pytest.mark.parametrize("said", ["1.0: digest: sha256:%s size: 1368", "quiet"])
def test_the_digest_of_a_push_is_known_whatever_the_engine_calls_the_repository(install: Install, said: str) -> None:
    """It is what the push says; otherwise that of the repository, with or without the default registry."""
    digest, other = "a" * 64, "b" * 64
    described = f'[{{"RepoDigests": ["x.example.com/team/digits@sha256:{other}", "team/digits@sha256:{digest}"]}}]'
    install("docker", f"case $1 in push) echo '{said.replace('%s', digest)}';; *) echo '{described}';; esac")
    name = ImageName.parse("docker.io/team/digits:1.0", field="--tag")
    assert DockerBuilder().push(ImageRef("", "sha256:1"), name) == f"sha256:{digest}"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("#9 writing", "ERROR: write /x: no space left on device"), "no space left for the image"),
        (("ERROR: failed to resolve source metadata for python", "exit"), "base image cannot be had"),
        (("#9 ERROR: process did not complete",), "A step of the build failed"),
    ],
)
def test_a_failed_build_is_told_by_its_cause(lines: tuple[str, ...], message: str) -> None:
    """Its last lines are the evidence."""
    failure = build_failure(ProgramFailed(lines[-1], lines))
    assert isinstance(failure, BuildFailed)
    assert message in failure.message
    assert failure.evidence == lines


def test_a_registry_that_wants_a_login_is_told_as_that() -> None:
    """The remedy is the login, not another try."""
    failure = push_failure("x/y:1", ProgramFailed("denied: requested access to the resource is denied"))
    assert "docker login" in failure.remedy
