"""How cosign is asked, and what of its answers counts; the real one is asked in tests/container/test_cosign.py."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nimify.core.deployments import order_for, with_verified_image
from nimify.errors import ConfigError, EnvironmentProblem, NotDeployed
from nimify.images.build import BuildOptions
from nimify.images.cosign import NotSigned, check_key, sign, verified
from nimify.images.reference import ImageName

MakeBundle = Callable[..., Path]
DIGEST = f"sha256:{'0a' * 32}"
OTHER = f"sha256:{'0b' * 32}"
BY_TAG = ImageName("registry.example.com/team/digits", "1.0")
BY_DIGEST = BY_TAG.pinned(DIGEST)
SIGN = "https://sigstore.dev/cosign/sign/v1"
FIELD = "--verify-image"


def row(digest: str = DIGEST, kind: str = SIGN) -> dict[str, Any]:
    return {"critical": {"image": {"docker-manifest-digest": digest}, "type": kind}, "optional": {}}


class Cosign:
    """A program of that name, that answers as it is told and notes how it was called."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._notes, self._program = folder / "notes", folder / "bin/cosign"
        self._program.parent.mkdir()
        monkeypatch.setenv("PATH", str(self._program.parent))

    def answers(self, text: Any, *, status: int = 0, errors: str = "") -> None:
        said = text if isinstance(text, str) else json.dumps(text)
        self._program.write_text(
            f"#!{sys.executable}\n"
            "import json, os, sys\n"
            "settings = {k: v for k, v in os.environ.items() if k.startswith('COSIGN_') and v}\n"
            f"json.dump([sys.argv[1:], settings, sys.stdin.read()], open({str(self._notes)!r}, 'w'))\n"
            f"print({said!r})\n"
            f"sys.exit({status} if not sys.stderr.write({errors!r}) else {status})\n"
        )
        self._program.chmod(0o755)

    @property
    def call(self) -> tuple[list[str], dict[str, str], str]:
        """The arguments, cosign's variables that were not empty, and standard input."""
        arguments, settings, stdin = json.loads(self._notes.read_text())
        return arguments, settings, stdin


@pytest.fixture
def cosign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cosign:
    for name in [name for name in os.environ if name.startswith("COSIGN_")]:
        monkeypatch.delenv(name)
    return Cosign(tmp_path, monkeypatch)


@pytest.fixture
def key(tmp_path: Path) -> str:
    (tmp_path / "a.pub").write_text("a key")
    return str(tmp_path / "a.pub")


@pytest.mark.parametrize("image", [BY_TAG, BY_DIGEST])
@pytest.mark.parametrize("rows", [[row()], [row(), row()], [row(OTHER, "https://example.com/scanned"), row()]])
def test_a_signed_image_is_known_by_its_digest(
    image: ImageName, rows: list[dict[str, Any]], cosign: Cosign, key: str
) -> None:
    """Whatever it was named by; a signed statement about another image says nothing of it."""
    cosign.answers(rows)

    assert verified(image, key, field=FIELD) == BY_DIGEST
    arguments, _, _ = cosign.call
    assert arguments[0] == "verify"
    assert arguments[-3:] == ["--key", key, str(image)]
    assert "--check-claims=true" in arguments


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        [{}],
        [None],
        "no JSON",
        "",
        [row(kind="https://cyclonedx.org/bom")],
        [row(), row(OTHER)],
        [row(OTHER)],
        [{"critical": {"image": None, "type": SIGN}}],
    ],
)
def test_anything_else_that_it_says_is_no_signature(answer: Any, cosign: Cosign, key: str) -> None:
    """It ended well, and that alone says nothing."""
    cosign.answers(answer)

    with pytest.raises(NotSigned):
        verified(BY_DIGEST, key, field=FIELD)


def test_what_cosign_refuses_is_not_signed(cosign: Cosign, key: str) -> None:
    """Its reason is told without its farewell."""
    cosign.answers(
        [row()], status=10, errors="Error: no signatures found\nerror during command execution: no signatures found\n"
    )

    with pytest.raises(NotSigned, match=r"is not signed with the key '.*': no signatures found\.$"):
        verified(BY_TAG, key, field=FIELD)


def test_nothing_but_a_password_comes_from_the_environment(
    cosign: Cosign, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No variable sets an option; the password is no argument, and nobody is asked for it."""
    for name in ("CHECK_CLAIMS", "KEY", "SIGNATURE", "NEW_IN_A_LATER_RELEASE", "ALLOW_HTTP_REGISTRY", "PASSWORD"):
        monkeypatch.setenv(f"COSIGN_{name}", "secret" if name == "PASSWORD" else "false")
    cosign.answers("")

    sign(BY_DIGEST, key, field="--sign-image")

    arguments, settings, stdin = cosign.call
    assert settings == {"COSIGN_PASSWORD": "secret", "COSIGN_ALLOW_HTTP_REGISTRY": "false"}
    assert not any("secret" in argument for argument in arguments)
    assert arguments[-3:] == ["--key", key, str(BY_DIGEST)]
    assert stdin == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/nowhere/a.key", "there is no key"),
        ("", "there is no key"),
        ("https://example.com/a.pub", "there is no key"),
        ("env://NIMIFY_NO_SUCH_KEY", "has no 'NIMIFY_NO_SUCH_KEY'"),
        ("env://", "there is no key"),
    ],
)
def test_a_key_that_is_none_is_refused(text: str, said: str, cosign: Cosign) -> None:
    """Before cosign is asked, which would fetch what an address names."""
    cosign.answers([row()])
    for call in (lambda: check_key(text, field=FIELD), lambda: verified(BY_TAG, text, field=FIELD)):
        with pytest.raises(ConfigError, match=said):
            call()


@pytest.mark.parametrize("text", ["env://A_KEY", "awskms:///alias/release", "k8s://ml/release"])
def test_a_key_may_be_elsewhere(text: str, cosign: Cosign, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a variable, or in a key store that cosign knows."""
    monkeypatch.setenv("A_KEY", "a key")
    cosign.answers([row()])
    assert verified(BY_TAG, text, field=FIELD) == BY_DIGEST


def test_without_cosign_nothing_is_signed_and_nothing_deployed(cosign: Cosign, key: str) -> None:
    """A missing program is not a reason to go on."""
    for call in (
        lambda: check_key(key, field=FIELD),
        lambda: sign(BY_DIGEST, key, field=FIELD),
        lambda: verified(BY_TAG, key, field=FIELD),
    ):
        with pytest.raises(EnvironmentProblem, match="no cosign command"):
            call()


def test_only_what_is_pushed_can_be_signed() -> None:
    """The signature lies in the registry."""
    with pytest.raises(ConfigError, match="only an image in a registry can be signed"):
        BuildOptions(sign_image="a.key")


def test_an_order_is_pinned_to_what_is_signed(cosign: Cosign, key: str, make_bundle: MakeBundle) -> None:
    """A tag that moves after the check changes nothing any more."""
    order = order_for(make_bundle("tiny"), image=str(BY_TAG))
    cosign.answers([row()])
    assert with_verified_image(order, key, target="docker").image == str(BY_DIGEST)
    cosign.answers([])
    with pytest.raises(NotDeployed, match="Nothing changed"):
        with_verified_image(order, key, target="docker")


@pytest.mark.parametrize(("image", "target"), [("", "docker"), (str(BY_TAG), "process")])
def test_where_no_image_is_run_none_is_verified(
    image: str, target: str, cosign: Cosign, key: str, make_bundle: MakeBundle
) -> None:
    """It is an error, and not a check that passes."""
    cosign.answers([row()])
    with pytest.raises(ConfigError, match="--verify-image"):
        with_verified_image(order_for(make_bundle("tiny"), image=image), key, target=target)
