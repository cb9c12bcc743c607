"""Names of images, by the grammar of registries."""

from __future__ import annotations

import pytest

from nimify.errors import ConfigError
from nimify.images.reference import ImageName

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "repository", "tag", "digest"),
    [
        ("digits", "digits", "", ""),
        ("digits:1.0", "digits", "1.0", ""),
        ("localhost:5000/team/digits:v1", "localhost:5000/team/digits", "v1", ""),
        ("Registry.example.com/a__b/c--d.e:A_b-1", "Registry.example.com/a__b/c--d.e", "A_b-1", ""),
        ("[::1]:5000/digits", "[::1]:5000/digits", "", ""),
        (f"nvcr.io/nvidia/tritonserver:26.08-py3@{DIGEST}", "nvcr.io/nvidia/tritonserver", "26.08-py3", DIGEST),
        (f"digits@{DIGEST}", "digits", "", DIGEST),
    ],
)
def test_a_name_is_read_and_written_as_it_was(text: str, repository: str, tag: str, digest: str) -> None:
    """Every form that registries know."""
    name = ImageName.parse(text, field="--tag")
    assert (name.repository, name.tag, name.digest) == (repository, tag, digest)
    assert str(name) == text


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "digits\n", "digits\nRUN touch /x", "digits:", "digits:1.0\r", "digits: 1", "-digits",
        "--push", "digits:-1",
        "Digits", "team/Digits", "digits@sha256:abc", f"digits@{DIGEST}0", f"digits@{DIGEST.upper()}",
        "digits@md5:" + "a" * 32,
        "digits//x", "/digits", "digits/", "a..b", "a___b", "http://x/digits", "digits:" + "x" * 129, "d" * 256,
        "digits:1\u202e", "d\u0456gits", "digits$(id)", "digits`id`", "${X}", "digits;x", "digits'", 'digits"',
        "a b", "{{ x }}",
        "localhost:port/digits", "digits:1@", "d\0",
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused_in_one_line(text: str) -> None:
    """Short digests, capitals, newlines and everything that an argument list or a Dockerfile could take amiss."""
    with pytest.raises(ConfigError) as raised:
        ImageName.parse(text, field="--tag")
    assert "\n" not in str(raised.value)
    assert raised.value.field == "--tag"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Digits", "small letters"),
        ("digits@sha256:abc", "64 hexadecimal digits"),
        ("digits\n", "characters that names cannot have"),
        ("", "empty"),
    ],
)
def test_the_refusal_says_why(text: str, reason: str) -> None:
    """The usual mistakes are named."""
    with pytest.raises(ConfigError, match=reason):
        ImageName.parse(text, field="--tag")


@pytest.mark.parametrize(
    ("name", "registry", "full"),
    [
        ("python", "", "docker.io/library/python"),
        ("docker.io/python", "docker.io", "docker.io/library/python"),
        ("team/digits", "", "docker.io/team/digits"),
        ("docker.io/team/digits", "docker.io", "docker.io/team/digits"),
        ("localhost/digits", "localhost", "localhost/digits"),
        ("localhost:5000/digits", "localhost:5000", "localhost:5000/digits"),
        ("registry.example.com/team/digits", "registry.example.com", "registry.example.com/team/digits"),
    ],
)
def test_a_repository_is_the_same_however_it_is_written(name: str, registry: str, full: str) -> None:
    """Engines leave the default registry out, and put it back, as they like."""
    found = ImageName.parse(f"{name}:1.0", field="--tag")
    assert (found.registry, found.full_repository) == (registry, full)
