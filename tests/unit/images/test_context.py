"""What a builder is given."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nimify.artifacts.bundle import Bundle
from nimify.errors import BundleDamaged
from nimify.images.context import Context
from nimify.images.wheel import Wheel

WHEEL = Wheel("nimify_anything-0.1.0-py3-none-any.whl", b"a wheel")


@pytest.fixture
def bundle(make_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    """One that the test may change."""
    return shutil.copytree(make_bundle("tiny"), tmp_path / "bundle")


def sent(context: Context) -> bytes:
    stream = io.BytesIO()
    context.send(stream)
    return stream.getvalue()


def test_it_holds_what_the_image_needs_and_nothing_else(bundle: Path) -> None:
    """The owner's notes, keys and recorded requests stay at home."""
    (bundle / "notes.txt").write_text("mine")
    (bundle / "model_repository/id_rsa").write_text("secret")
    context = Context.of(Bundle.open(bundle), "cpu", WHEEL)
    assert sorted([*context.files, *context.texts]) == [
        "container/Dockerfile.cpu",
        "container/prepare.py",
        "container/requirements.txt",
        "container/wheels/nimify.txt",
        f"container/wheels/{WHEEL.name}",
        "model_repository/tiny/1/model.onnx",
        "model_repository/tiny/config.pbtxt",
        "openapi.json",
        "plan.json",
    ]


def test_times_owners_and_modes_of_this_machine_are_not_in_it(bundle: Path) -> None:
    """The same content gives the same bytes, whoever has the files since when."""
    before = sent(Context.of(Bundle.open(bundle), "cpu", WHEEL))
    (bundle / "plan.json").chmod(0o600)
    os.utime(bundle / "model_repository/tiny/1/model.onnx", (1, 1))
    assert sent(Context.of(Bundle.open(bundle), "cpu", WHEEL)) == before
    with tarfile.open(fileobj=io.BytesIO(before)) as archive:
        entries = archive.getmembers()
    assert {entry.mtime for entry in entries} == {0}
    assert {entry.mode for entry in entries if entry.isfile()} == {0o644}
    assert {entry.uid for entry in entries} == {0}


def test_the_wheel_is_named_with_its_digest(bundle: Path) -> None:
    """No other one is installed: pip refuses any other one."""
    context = Context.of(Bundle.open(bundle), "cpu", WHEEL)
    assert context.texts["container/wheels/nimify.txt"].decode() == f"./{WHEEL.name} --hash={WHEEL.digest}\n"


def test_a_linked_model_is_sent_as_the_file_that_it_is(bundle: Path, tmp_path: Path) -> None:
    """A bundle of `create --link` builds like any other."""
    model = bundle / "model_repository/tiny/1/model.onnx"
    content = model.read_bytes()
    model.rename(tmp_path / "elsewhere.onnx")
    model.symlink_to(tmp_path / "elsewhere.onnx")
    context = Context.of(Bundle.open(bundle), "cpu", WHEEL)
    with tarfile.open(fileobj=io.BytesIO(sent(context))) as archive:
        stream = archive.extractfile("model_repository/tiny/1/model.onnx")
        assert stream is not None
        assert stream.read() == content
    context.lay_out(tmp_path / "folder")
    assert (tmp_path / "folder/model_repository/tiny/1/model.onnx").read_bytes() == content


def test_a_lost_file_is_named(bundle: Path) -> None:
    """Nothing is built from half a bundle."""
    (bundle / "openapi.json").unlink()
    with pytest.raises(BundleDamaged, match=r"openapi\.json"):
        Context.of(Bundle.open(bundle), "cpu", WHEEL)


def test_its_digest_follows_every_file(bundle: Path) -> None:
    """One byte more is another digest."""
    before = Context.of(Bundle.open(bundle), "cpu", WHEEL).digest(["base"])
    assert Context.of(Bundle.open(bundle), "cpu", WHEEL).digest(["base"]) == before
    with (bundle / "openapi.json").open("ab") as stream:
        stream.write(b"\n")
    assert Context.of(Bundle.open(bundle), "cpu", WHEEL).digest(["base"]) != before
