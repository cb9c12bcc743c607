"""External data: only plain files of the model's own folder count, and no other file is opened."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest

from nimify.errors import ModelError, UnsafeModel
from nimify.formats.onnx import OnnxFormat
from nimify.testing import models

_opened: list[str] = []
_watching = False


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and event == "open":
        _opened.append(str(arguments[0]))


sys.addaudithook(_watch)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file outside the model's folder that nobody may open; checked by an audit hook."""
    global _watching
    path = tmp_path / "canary.bin"
    path.write_bytes(bytes(16384))
    _opened.clear()
    _watching = True
    yield path
    _watching = False
    assert not [name for name in _opened if Path(name).name == path.name]


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    return models.save(models.external_data(), folder / "model.onnx")


def point(model_file: Path, **entries: str) -> None:
    """Rewrite where the first tensor's data lies."""
    model = onnx.load(str(model_file), load_external_data=False)
    tensor = model.graph.initializer[0]
    old = {entry.key: entry.value for entry in tensor.external_data}
    del tensor.external_data[:]
    for key, value in {**old, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    model_file.write_bytes(model.SerializeToString())


def test_external_data_is_listed_measured_and_hashed(model_file: Path) -> None:
    """Both files count, and the digest is what sha256sum makes of their listing."""
    data = model_file.with_name(models.DATA_FILE)

    info = OnnxFormat().read(model_file)

    assert [(file.location, file.size_bytes) for file in info.files] == [
        ("model.onnx", model_file.stat().st_size),
        ("weights.bin", 4 * (64 * 32 + 32)),
    ]
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in (model_file, data)]
    assert info.digest == f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def test_data_in_a_folder_below_is_allowed(model_file: Path) -> None:
    """A location may have components, and a harmless `./`."""
    data = model_file.with_name(models.DATA_FILE)
    (model_file.parent / "data").mkdir()
    (model_file.parent / "data" / "copy.bin").write_bytes(data.read_bytes())
    point(model_file, location="./data/copy.bin")

    info = OnnxFormat().read(model_file)

    assert [file.location for file in info.files] == ["model.onnx", "data/copy.bin", "weights.bin"]


@pytest.mark.parametrize(
    "location",
    [
        "../canary.bin",
        "data/../../canary.bin",
        "{folder}/canary.bin",
        "/proc/self/environ",
        "C:/canary.bin",
        "..\\canary.bin",
        "canary.bin\n",
        "*/_ORT_MEM_ADDR_/*",
        "a" * 2000,
        "model.onnx",
        ".",
    ],
)
def test_locations_that_could_lead_outside_are_unsafe(location: str, model_file: Path, canary: Path) -> None:
    """The text alone is enough to refuse them."""
    point(model_file, location=location.format(folder=canary.parent))

    with pytest.raises(UnsafeModel):
        OnnxFormat().read(model_file)


def _symlink(target: Path, data: Path) -> None:
    data.symlink_to(target)


def _hardlink(target: Path, data: Path) -> None:
    data.hardlink_to(target)


def _dangling_symlink(target: Path, data: Path) -> None:
    data.symlink_to(target.with_name("nothing"))


def _fifo(target: Path, data: Path) -> None:
    os.mkfifo(data)


def _folder(target: Path, data: Path) -> None:
    data.mkdir()


@pytest.mark.parametrize("make", [_symlink, _hardlink, _dangling_symlink, _fifo, _folder])
def test_data_that_is_not_a_plain_file_is_unsafe(
    make: Callable[[Path, Path], None], model_file: Path, canary: Path
) -> None:
    """Links, pipes and folders are refused without being opened."""
    data = model_file.with_name(models.DATA_FILE)
    data.unlink()
    make(canary, data)

    with pytest.raises(UnsafeModel, match=r"weights\.bin"):
        OnnxFormat().read(model_file)


def test_data_behind_a_linked_folder_is_unsafe(model_file: Path, canary: Path) -> None:
    """A link on the way is a link."""
    (model_file.parent / "data").symlink_to(canary.parent)
    point(model_file, location="data/canary.bin")

    with pytest.raises(UnsafeModel, match="cannot be reached safely"):
        OnnxFormat().read(model_file)


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"offset": "-4"}, "the offset of .* is '-4', not a whole number"),
        ({"offset": "0x10"}, "not a whole number"),
        ({"length": "9" * 30}, "not a whole number"),
        ({"length": "-1"}, "not a whole number"),
        ({"length": "999999999999"}, "while its type and dimensions ask for 8192"),
        ({"offset": "8000"}, r"ends at byte 16192 of 'weights\.bin', which has only 8320"),
        ({"location": ""}, "has no location"),
        ({"location": "other.bin"}, r"'other\.bin' is missing"),
    ],
)
def test_extents_must_fit_the_tensor_and_the_file(entries: dict[str, str], sentence: str, model_file: Path) -> None:
    """Offsets and lengths are whole numbers within the file."""
    point(model_file, **entries)

    with pytest.raises(ModelError, match=sentence):
        OnnxFormat().read(model_file)


def test_a_short_data_file_is_an_error(model_file: Path) -> None:
    """A copy that stopped half way is found without loading it."""
    os.truncate(model_file.with_name(models.DATA_FILE), 5000)

    with pytest.raises(ModelError, match="which has only 5000"):
        OnnxFormat().read(model_file)


def test_dimensions_decide_what_external_data_must_hold(model_file: Path) -> None:
    """2^62 elements are not in a file of eight kilobytes."""
    model = onnx.load(str(model_file), load_external_data=False)
    model.graph.initializer[0].dims[0] = 1 << 62
    model_file.write_bytes(model.SerializeToString())

    with pytest.raises(ModelError, match="its type and dimensions ask for"):
        OnnxFormat().read(model_file)


def test_an_entry_given_twice_is_unsafe(model_file: Path) -> None:
    """Two readers could pick two different files."""
    model = onnx.load(str(model_file), load_external_data=False)
    model.graph.initializer[0].external_data.add(key="location", value="weights.bin")
    model_file.write_bytes(model.SerializeToString())

    with pytest.raises(UnsafeModel, match="says twice"):
        OnnxFormat().read(model_file)
