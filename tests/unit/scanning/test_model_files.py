"""The scan of a model's files: by what is in them, whatever they are called."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from nimify.scanning.model_files import scan_models
from nimify.scanning.scan import Level
from nimify.testing import models

_PICKLE = pickle.dumps({"weights": [1, 2, 3]}, protocol=4)
_OLD_PICKLE = pickle.dumps({"weights": [1, 2, 3]}, protocol=0)
_LAMBDA = {"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda", "config": {}}]}}


def _zip(members: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def _tar(members: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def _npy(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


_OBJECTS = _npy(np.array([{}, None], dtype=object))
_NUMBERS = _npy(np.zeros(3))


@pytest.mark.parametrize(
    ("name", "content", "issue"),
    [
        ("weights.bin", _PICKLE, "model.pickle"),
        ("model.pkl", _OLD_PICKLE, "model.pickle"),
        ("model.joblib", gzip.compress(_PICKLE, mtime=0), "model.pickle"),
        ("model", bz2.compress(_PICKLE), "model.pickle"),
        ("model.xz", lzma.compress(_PICKLE), "model.pickle"),
        ("model.pt", _zip({"archive/data.pkl": _PICKLE, "archive/data/0": b"\0" * 64}), "model.pickle"),
        ("innocent.onnx", _zip({"a.txt": b"text", "b": _PICKLE}), "model.pickle"),
        ("labels.npy", _OBJECTS, "model.pickle"),
        ("arrays.npz", _zip({"a.npy": _NUMBERS, "b.npy": _OBJECTS}), "model.pickle"),
        ("model.keras", _zip({"config.json": json.dumps(_LAMBDA).encode()}), "model.keras-lambda"),
        ("model.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 5000 + json.dumps(_LAMBDA).encode(), "model.keras-lambda"),
        ("model.nemo", _tar({"config.yaml": b"a: 1", "weights.ckpt": _PICKLE}), "model.pickle"),
        ("model.tar.gz", gzip.compress(_tar({"weights.ckpt": _PICKLE}), mtime=0), "model.pickle"),
        ("model.z", zlib.compress(_PICKLE), "model.pickle"),
        ("ops.so", b"\x7fELF" + b"\0" * 60, "model.library"),
        ("weights.data", b"MZ" + b"\0" * 60, "model.library"),
        ("package.zip", _zip({"lib/ops.so": b"\x7fELF" + b"\0" * 60}), "model.library"),
        ("load.py", b"import os\n", "model.script"),
        ("load", b"#!/bin/sh\n", "model.script"),
        ("model_repository/m/1/model.py", b"class TritonPythonModel: ...\n", "model.script"),
        ("weights.gz", gzip.compress(b"\0\1\2", mtime=0), "model.packed"),
    ],
)
def test_what_runs_code_is_found_by_its_content(tmp_path: Path, name: str, content: bytes, issue: str) -> None:
    """Each kind of file gets its issue, with its place in the folder."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)

    result = scan_models(tmp_path)

    assert [(found.id, found.where) for found in result.issues] == [(issue, name)]
    assert result.not_scanned == ""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("numbers.npy", _NUMBERS),
        ("numbers.npz", _zip({"a.npy": _NUMBERS})),
        ("model.keras", _zip({"config.json": b'{"class_name": "Dense"}', "model.weights.h5": b"\x89HDF\r\n\x1a\n"})),
        ("data.tar", _tar({"labels.txt": b"a"})),
        ("beginning.bin", b"x\x9c" + b"\xff" * 600),
        ("plan.json", b'{"class_name": "Lambda"}'),
        ("empty", b""),
        ("labels.txt", b"a\nb\n"),
    ],
)
def test_what_runs_no_code_is_left_alone(tmp_path: Path, name: str, content: bytes) -> None:
    """Data is data."""
    (tmp_path / name).write_bytes(content)

    result = scan_models(tmp_path)

    assert (result.issues, result.not_scanned) == ((), "")


def test_an_onnx_model_is_clean(tmp_path: Path) -> None:
    """The format that nimify serves runs nothing when it is opened."""
    models.save(models.ALL["external-data"](), tmp_path / "model.onnx")

    result = scan_models(tmp_path)

    assert (result.issues, result.not_scanned) == ((), "")


def test_a_pickle_is_critical_and_scripts_where_triton_runs_them_are_high(tmp_path: Path) -> None:
    """The levels say what the gate stops."""
    (tmp_path / "model_repository").mkdir()
    (tmp_path / "model_repository/model.py").write_text("")
    (tmp_path / "train.py").write_text("")
    (tmp_path / "model.pkl").write_bytes(_PICKLE)

    levels = {found.where: found.level for found in scan_models(tmp_path).issues}

    assert levels == {
        "model.pkl": Level.CRITICAL,
        "model_repository/model.py": Level.HIGH,
        "train.py": Level.LOW,
    }


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04" + b"\0" * 40,
        gzip.compress(_PICKLE, mtime=0)[:-12],
        gzip.compress(_tar({"a": bytes(range(256)) * 64, "b": _PICKLE}), 0, mtime=0)[:9000],
        _zip({"config.json": b"{" * 100}),
        _zip({"inner.bin": _zip({"a": _PICKLE})}),
        gzip.compress(_zip({"a": _PICKLE}), mtime=0),
        b"\x28\xb5\x2f\xfd" + b"\0" * 40,
    ],
    ids=["zip", "gzip", "tar", "config", "zip in zip", "zip in gzip", "zstd"],
)
def test_what_cannot_be_looked_into_is_not_scanned(tmp_path: Path, content: bytes) -> None:
    """A damaged archive is not a clean one."""
    (tmp_path / "damaged.bin").write_bytes(content)

    assert "'damaged.bin'" in scan_models(tmp_path).not_scanned


def test_an_encrypted_archive_is_not_scanned(tmp_path: Path) -> None:
    """What is encrypted cannot be looked into."""
    content = bytearray(_zip({"a": b"text"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1  # the flag of encryption
    (tmp_path / "secret.zip").write_bytes(content)

    assert "'secret.zip'" in scan_models(tmp_path).not_scanned


def test_links_and_special_files_are_issues(tmp_path: Path) -> None:
    """No link is followed, no pipe is opened."""
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "folder").symlink_to("/etc")
    os.mkfifo(tmp_path / "pipe")

    found = {issue.where: issue.id for issue in scan_models(tmp_path).issues}

    assert found == {"link": "model.link", "folder": "model.link", "pipe": "model.special-file"}


def test_a_single_file_is_scanned(tmp_path: Path) -> None:
    """A file that was just downloaded need not be put into a folder."""
    (tmp_path / "model.bin").write_bytes(_PICKLE)

    assert [issue.where for issue in scan_models(tmp_path / "model.bin").issues] == ["model.bin"]


def test_names_cannot_break_out_of_their_line(tmp_path: Path) -> None:
    """A name with a line break, or with bytes that are no text, is shown as escapes."""
    (tmp_path / "a\nb.pkl").write_bytes(_PICKLE)
    with open(os.fsencode(tmp_path) + b"/\xff.pkl", "wb") as stream:  # noqa: PTH123 - the name is no text
        stream.write(_PICKLE)

    assert sorted(issue.where for issue in scan_models(tmp_path).issues) == [r"\xff.pkl", r"a\nb.pkl"]
