"""A signed bundle brings its signature into the image, where the service may be told to check it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nimify.artifacts.bundle import Bundle
from nimify.core.signatures import check_bundle, sign_bundle
from nimify.images.context import Context
from nimify.images.wheel import Wheel
from nimify.signing.keys import PrivateKey, generate_key

_WHEEL = Wheel("nimify_anything-0.1.0-py3-none-any.whl", b"a wheel")


@pytest.fixture
def bundle(make_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_bundle("external-data"), tmp_path / "bundle"))


@pytest.mark.parametrize("family", ["cpu", "triton"])
def test_what_an_image_holds_is_what_was_signed(bundle: Path, tmp_path: Path, family: str) -> None:
    """Without the build's own files, the context passes the check that the service makes at its start."""
    public = generate_key(tmp_path / "signing.pem")
    sign_bundle(bundle, PrivateKey.load(tmp_path / "signing.pem"))
    Context.of(Bundle.open(bundle), family, _WHEEL).lay_out(tmp_path / "image")
    shutil.rmtree(tmp_path / "image/container")

    manifest = check_bundle(tmp_path / "image", public)

    held = {
        path.relative_to(tmp_path / "image").as_posix() for path in (tmp_path / "image").rglob("*") if path.is_file()
    }
    assert held == {*manifest.files, "model.sig"}


@pytest.mark.parametrize("family", ["cpu", "triton"])
def test_dockerfiles_take_the_signature_along(bundle: Path, family: str) -> None:
    """By a pattern, so that the same Dockerfile builds a bundle without one."""
    assert "COPY plan.json openapi.json model.si[g] " in (bundle / f"container/Dockerfile.{family}").read_text()
    assert "!model.sig\n" in (bundle / ".dockerignore").read_text()
