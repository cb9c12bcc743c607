"""Everything that a path can lead to, given to the whole analysis: a one-line error, or an answer; never more.

The canary lies beside the model's folder; the kernel reports whether anyone opened it, guarded children included.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from nimify.analysis.analyzer import AnalysisOptions, ModelAnalyzer
from nimify.errors import ModelError
from nimify.formats.limits import MAX_PROTOBUF_BYTES
from nimify.testing import models


class Canary(Protocol):
    """What the fixture of conftest.py gives."""

    path: Path
    folder: Path

    def watch(self) -> None: ...

    def accesses(self) -> int: ...


Make = Callable[[Path, Path], Path]
"""Puts a case into a folder, with the canary's path at hand, and says what is to be analysed."""

SOUND = models.tiny().SerializeToString()


def _content(data: bytes, name: str = "model.onnx") -> Make:
    def make(folder: Path, canary: Path) -> Path:
        path = folder / name
        path.write_bytes(data)
        return path

    return make


def _directory(folder: Path, canary: Path) -> Path:
    return folder


def _pipe(folder: Path, canary: Path) -> Path:
    os.mkfifo(folder / "model.onnx")
    return folder / "model.onnx"


def _socket(folder: Path, canary: Path) -> Path:
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.chdir(folder)  # The name of a socket may not be long, and temporary folders are.
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("model.onnx")
    finally:
        os.fchdir(here)
        os.close(here)
    return folder / "model.onnx"


def _device(folder: Path, canary: Path) -> Path:
    return Path("/dev/zero")


def _link_to_a_device(folder: Path, canary: Path) -> Path:
    (folder / "model.onnx").symlink_to("/dev/zero")
    return folder / "model.onnx"


def _dangling(folder: Path, canary: Path) -> Path:
    (folder / "model.onnx").symlink_to("nothing")
    return folder / "model.onnx"


def _circle(folder: Path, canary: Path) -> Path:
    (folder / "model.onnx").symlink_to("model.onnx")
    return folder / "model.onnx"


def _missing(folder: Path, canary: Path) -> Path:
    return folder / "model.onnx"


def _below_a_file(folder: Path, canary: Path) -> Path:
    (folder / "file").write_bytes(b"x")
    return folder / "file" / "model.onnx"


def _too_long(folder: Path, canary: Path) -> Path:
    return folder / f"{'a' * 251}.onnx"


def _beyond_protobuf(folder: Path, canary: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(SOUND)
    os.truncate(path, MAX_PROTOBUF_BYTES + 1)
    return path


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../canary.bin", b"x")
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    return buffer.getvalue()


REFUSED: dict[str, tuple[Make, str]] = {
    "no bytes": (_content(b""), "it is empty"),
    "one byte": (_content(b"\x08"), "damaged|not a model|not known"),
    "a directory": (_directory, "it is a directory"),
    "a pipe": (_pipe, "it is a pipe"),
    "a socket": (_socket, "it is a socket"),
    "a device": (_device, "it is a device"),
    "a link to a device": (_link_to_a_device, "it is a device"),
    "a dangling link": (_dangling, "a link to a file that does not exist"),
    "a circle of links": (_circle, "cannot be opened"),
    "nothing": (_missing, "there is no such file"),
    "a path below a file": (_below_a_file, "cannot be opened"),
    "a name of 256 bytes": (_too_long, "cannot be opened"),
    "more than protobuf takes": (_beyond_protobuf, "one ONNX file holds at most"),
    "a name that is no text": (_content(SOUND, os.fsdecode(b"\xff\xfe.onnx")), "not UTF-8 text"),
    "a pickle": (_content(pickle.dumps({"weights": [1.0]})), "a pickle"),
    "a pickle under a picture's head": (_content(b"\xff\xd8\xff\xe0JFIF\0" + pickle.dumps({})), "not"),
    "an archive": (_content(_archive()), "a ZIP archive"),
    "an archive behind a model": (_content(SOUND + _archive()), "damaged"),
    "a program behind a model": (_content(SOUND + b"\x7fELF" + bytes(64)), "damaged"),
    "a program": (_content(b"MZqFpD='\n\n" + SOUND), "not"),
    "text": (_content(b"just some words\n"), "a text file"),
    "two models": (_content(SOUND + SOUND), "two inputs named 'x'"),
    "noise behind a model": (_content(SOUND + bytes(range(256))), "damaged"),
    "lying safetensors": (_content((1 << 63).to_bytes(8, "little") + b"{}"), "not"),
    "lying GGUF": (_content(b"GGUF\x03\0\0\0" + b"\xff" * 16), "a GGUF file"),
    "a Keras archive": (_content(b"\x89HDF\r\n\x1a\n" + bytes(64), "model.h5"), "an HDF5 file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_sound_model_file_is_an_error_on_one_line(name: str, canary: Canary) -> None:
    """Whatever it is, it is named, and nothing waits for it."""
    make, sentence = REFUSED[name]
    path = make(canary.folder, canary.path)
    canary.watch()

    with pytest.raises(ModelError, match=sentence) as caught:
        ModelAnalyzer(AnalysisOptions(trial=False)).analyze(path)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "a b.onnx",
        "a;b.onnx",
        "$(touch x).onnx",
        "line\nbreak.onnx",
        "-rf.onnx",
        "\N{GRINNING FACE}.onnx",
        "..onnx",
        "model.onnx.",
        "CON.onnx",
        f"{'a' * 250}.onnx",
        "{{7*7}}.onnx",
        "model.pt",
        "model.pkl",
        "model",
    ],
)
def test_any_name_that_a_file_can_have_is_taken(name: str, canary: Canary) -> None:
    """The content decides, and the name is only shown."""
    path = _content(SOUND, name)(canary.folder, canary.path)
    canary.watch()

    analysis = ModelAnalyzer(AnalysisOptions(trial=False)).analyze(path)

    assert analysis.structure is not None
    assert all("\n" not in finding.message for finding in analysis.all_findings)


def test_a_path_with_dots_is_the_users_own_business(canary: Canary) -> None:
    """What the user writes is followed; only what the model writes is confined."""
    path = _content(SOUND)(canary.folder, canary.path)
    canary.watch()

    analysis = ModelAnalyzer(AnalysisOptions(trial=False)).analyze(canary.folder / ".." / "model" / path.name)

    assert analysis.model.name == "model.onnx"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_an_error(canary: Canary) -> None:
    """The error says so."""
    path = _content(SOUND)(canary.folder, canary.path)
    path.chmod(0)
    canary.watch()

    with pytest.raises(ModelError, match="may not be read"):
        ModelAnalyzer(AnalysisOptions(trial=False)).analyze(path)


def test_damage_anywhere_is_an_error_or_an_answer(canary: Canary) -> None:
    """Forty cuts and a dozen files with flipped bits through the whole analysis: nothing but model errors comes out."""
    chance = random.Random(0)
    sound = models.loop_subgraph().SerializeToString()
    canary.watch()
    cuts = [sound[: len(sound) * number // 41] for number in range(1, 41)]
    for data in (*cuts, *(_flipped(sound, chance) for _ in range(12))):
        path = _content(data)(canary.folder, canary.path)
        try:
            ModelAnalyzer(AnalysisOptions(trial=False)).analyze(path)
        except ModelError as error:
            assert "\n" not in str(error)  # noqa: PT017 - some of these files are sound


def _flipped(sound: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(sound)
    for _ in range(chance.randint(1, 3)):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def test_a_canary_sings(canary: Canary) -> None:
    """A look at it is noticed; otherwise every test here would pass for nothing."""
    canary.watch()

    canary.path.read_bytes()

    assert canary.accesses() > 0
