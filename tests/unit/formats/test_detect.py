"""Finding the format of a file that may be anything."""

from __future__ import annotations

import io
import os
import pickle
import socket
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from nimify import plugins
from nimify.errors import ModelError, PluginError, UnsupportedModel
from nimify.formats.detect import detect
from nimify.formats.onnx import OnnxFormat
from nimify.testing import models


@pytest.mark.parametrize("kind", models.ALL)
@pytest.mark.parametrize("name", ["model.onnx", "model.bin", "no-suffix"])
def test_onnx_models_are_found_whatever_their_name(kind: str, name: str, tmp_path: Path) -> None:
    """The content decides."""
    path = models.save(models.ALL[kind](), tmp_path / name)

    assert isinstance(detect(path), OnnxFormat)


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", b"")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["model.onnx", "model"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "a PNG image"),
        (pickle.dumps({"weights": [1.0]}), "a pickle"),
        (_zip(), "a ZIP archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "an HDF5 file"),
        ((2).to_bytes(8, "little") + b"{}" + bytes(8), "a safetensors file"),
        (b"GGUF\x03\x00\x00\x00", "a GGUF file"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(64), "a TensorFlow Lite model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>404</html>", "an HTML or XML page"),
        (b"just some words\n", "a text file"),
    ],
)  # fmt: skip
def test_other_files_are_named_for_what_they_are(content: bytes, what: str, name: str, tmp_path: Path) -> None:
    """Renaming a file does not make it a model, and the error says what it is and what to do."""
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(UnsupportedModel, match=what) as caught:
        detect(path)

    assert caught.value.remedy


def test_noise_is_not_a_known_format(tmp_path: Path) -> None:
    """What looks like nothing gets the list of known formats."""
    path = tmp_path / "noise.dat"
    path.write_bytes(np.random.default_rng(1).bytes(5000))

    with pytest.raises(UnsupportedModel, match=r"known format.*Known formats: onnx\."):
        detect(path)


def test_empty_files_are_refused(tmp_path: Path) -> None:
    """A copy that never started."""
    path = tmp_path / "model.onnx"
    path.touch()

    with pytest.raises(ModelError, match="it is empty"):
        detect(path)


def test_directories_are_refused(tmp_path: Path) -> None:
    """The model is inside."""
    with pytest.raises(ModelError, match="it is a directory"):
        detect(tmp_path)


def test_pipes_sockets_and_devices_are_refused_without_opening_them(tmp_path: Path) -> None:
    """Opening a pipe would wait for a writer for ever."""
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)

    with pytest.raises(ModelError, match="it is a pipe"):
        detect(pipe)
    with pytest.raises(ModelError, match="it is a device"):
        detect(Path("/dev/zero"))


def test_sockets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket is no file either."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(ModelError, match="it is a socket"):
            detect(Path("s"))


def test_missing_files_and_dangling_links_are_told_apart(tmp_path: Path) -> None:
    """A link that leads nowhere is there, its target is not."""
    link = tmp_path / "link.onnx"
    link.symlink_to(tmp_path / "gone.onnx")

    with pytest.raises(ModelError, match="there is no such file"):
        detect(tmp_path / "missing.onnx")
    with pytest.raises(ModelError, match="a link to a file that does not exist"):
        detect(link)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    """Permissions are named as the cause."""
    path = models.save(models.tiny(), tmp_path / "model.onnx")
    path.chmod(0)

    with pytest.raises(ModelError, match="it may not be read"):
        detect(path)


@pytest.mark.parametrize("name", ["nul\0byte", "a" * 300, "loop"])
def test_paths_that_cannot_be_opened_are_an_error(name: str, tmp_path: Path) -> None:
    """Whatever the system says of a path becomes a sentence."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    with pytest.raises(ModelError, match="it cannot be opened"):
        detect(tmp_path / name)


def test_file_names_stay_on_one_line(tmp_path: Path) -> None:
    """Control characters and bytes that are not text are shown as escapes."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/new\nline\xff.onnx"))
    path.touch()

    with pytest.raises(ModelError) as caught:
        detect(path)

    assert r"new\nline\xff.onnx" in str(caught.value)


def test_two_formats_that_claim_one_file_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is preferred in silence; both are named."""
    path = models.save(models.tiny(), tmp_path / "model.onnx")
    entry = EntryPoint("twin", "nimify.formats.onnx:OnnxFormat", plugins.FORMATS)
    found = plugins.available(plugins.FORMATS)
    twins = {**found, "twin": plugins.Plugin("twin", plugins.FORMATS, "other", entry)}
    monkeypatch.setattr(plugins, "available", lambda _group: twins)

    with pytest.raises(PluginError, match="'onnx' and 'twin' all claim"):
        detect(path)


def test_no_content_makes_a_claim_fail() -> None:
    """`claims` answers for any bytes, with any beginning of a model before them."""
    chance = np.random.default_rng(0)
    beginning = models.tiny().SerializeToString()
    for round_number in range(2000):
        head = beginning[: round_number % 40] + chance.bytes(int(chance.integers(1, 60)))

        assert OnnxFormat().claims(Path("model.bin"), head) in {True, False}


@pytest.mark.parametrize("cut", range(60, 145, 12))
def test_a_cut_model_is_still_claimed_by_its_content(cut: int) -> None:
    """The error is then about damage, not about an unknown format."""
    assert OnnxFormat().claims(Path("model.bin"), models.tiny().SerializeToString()[:cut])
