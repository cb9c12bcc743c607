"""Damaged and hostile ONNX files: a one-line error, never anything else, and never much memory."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from nimify.errors import ModelError, UnsafeModel, UnsupportedModel
from nimify.formats.detect import detect
from nimify.formats.onnx import OnnxFormat
from nimify.formats.onnx_skeleton import read_skeleton
from nimify.formats.wire import WireReader, encode_message
from nimify.testing import models

MIB = 1 << 20


@pytest.fixture(scope="module")
def sound() -> bytes:
    return models.image_cnn().SerializeToString()


def write(folder: Path, data: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(data)
    return path


def test_a_model_cut_anywhere_is_damaged(sound: bytes, tmp_path: Path) -> None:
    """Forty cuts, each a one-line error that names the file."""
    for cut in range(1, 41):
        path = write(tmp_path, sound[: len(sound) * cut // 41])

        with pytest.raises(ModelError) as caught:
            detect(path).read(path)

        assert "it is damaged: the file ends too early at byte" in caught.value.message
        assert str(path) in caught.value.message
        assert "\n" not in str(caught.value)


def test_flipped_bytes_never_raise_anything_but_a_model_error(tmp_path: Path) -> None:
    """Four hundred damaged files are read or refused, and nothing else happens."""
    chance = random.Random(0)
    kinds = [models.loop_subgraph(), models.strings(), models.text_encoder(), models.identity()]
    originals = [model.SerializeToString() for model in kinds]
    refused = 0
    for round_number in range(400):
        damaged = bytearray(originals[round_number % len(originals)])
        for _ in range(chance.randint(1, 4)):
            # The start of these files is their structure; weights may hold any byte.
            damaged[chance.randrange(min(len(damaged), 2000))] = chance.randrange(256)
        path = write(tmp_path, bytes(damaged))
        refusal = _refusal(path)
        refused += bool(refusal)
        assert "\n" not in refusal
    assert refused > 50


def _refusal(path: Path) -> str:
    """What is wrong with a file; nothing when it reads. Any other error goes through."""
    try:
        detect(path).read(path)
    except ModelError as error:
        return str(error)
    return ""


def test_two_models_in_one_file_are_refused(tmp_path: Path) -> None:
    """Protobuf would merge them without a word."""
    data = models.tiny().SerializeToString()

    with pytest.raises(ModelError, match="two inputs named 'x'"):
        OnnxFormat().read(write(tmp_path, data + data))


@pytest.mark.parametrize("dims", [[1 << 62], [1 << 31, 1 << 31], [(1 << 63) - 1] * 8])
def test_weights_that_claim_more_than_they_hold_are_damaged(dims: list[int], tmp_path: Path) -> None:
    """Products of dimensions do not overflow into something that fits."""
    model = models.tiny()
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)

    with pytest.raises(ModelError, match=r"tensor 'const_0' declares \d+ elements of FLOAT and does not hold"):
        OnnxFormat().read(write(tmp_path, model.SerializeToString()))


def test_large_weights_that_claim_more_than_they_hold_are_damaged(tmp_path: Path) -> None:
    """The same holds for weights that are not kept."""
    model = models.image_cnn()
    model.graph.initializer[0].dims[0] = 1 << 62

    with pytest.raises(ModelError, match="does not hold as much data"):
        OnnxFormat().read(write(tmp_path, model.SerializeToString()))


@pytest.mark.parametrize("shape", [(1 << 62,), (1 << 31, 1 << 31), (1 << 20, "n", 1 << 20)])
def test_inputs_of_absurd_size_are_unsafe(shape: tuple[int | str, ...], tmp_path: Path) -> None:
    """A declared input that no machine can hold is refused with the limit."""
    path = models.save(models.identity(shape=shape), tmp_path / "model.onnx")

    with pytest.raises(UnsafeModel, match="input 'x' is declared with at least"):
        OnnxFormat().read(path)


@pytest.mark.parametrize("depth", [17, 40, 1000])
def test_deeply_nested_subgraphs_are_refused(depth: int, tmp_path: Path) -> None:
    """A thousand `If`s inside each other cost neither the stack nor the process."""
    graph = models.tiny().graph.SerializeToString()
    for _ in range(depth):
        # A graph (field 1: node) of a node (field 5: attribute) of an attribute (field 6: graph).
        graph = encode_message(1, encode_message(5, encode_message(6, graph)))
    model = models.tiny()
    data = model.SerializeToString() + encode_message(7, graph)

    with pytest.raises(ModelError, match="nests more than 16 subgraphs"):
        OnnxFormat().read(write(tmp_path, data))


def test_too_many_axes_are_refused(tmp_path: Path) -> None:
    """Numpy and the protocols have limits; a file has none."""
    path = models.save(models.identity(shape=tuple([1] * 33)), tmp_path / "model.onnx")

    with pytest.raises(UnsafeModel, match="input 'x' has 33 axes"):
        OnnxFormat().read(path)


def test_long_names_and_metadata_are_refused(tmp_path: Path) -> None:
    """Text that would fill logs and manifests has a limit."""
    named, described = models.tiny(), models.tiny()
    named.graph.output[0].name = "y" * 2000
    helper.set_model_props(described, {"key": "value" * MIB})

    with pytest.raises(UnsafeModel, match="longer than 1024 characters"):
        OnnxFormat().read(write(tmp_path, named.SerializeToString()))
    with pytest.raises(UnsafeModel, match="metadata exceeds"):
        OnnxFormat().read(write(tmp_path, described.SerializeToString()))


@pytest.mark.parametrize("values", [1, 5000])
def test_segmented_tensors_are_refused(values: int, tmp_path: Path) -> None:
    """A file cannot pass off the mark that stands for left-out weights as its own."""
    model = models.tiny()
    tensor = helper.make_tensor("segmented", TensorProto.FLOAT, [values], [0.0] * values)
    tensor.segment.end = 1 << 40
    model.graph.initializer.append(tensor)

    with pytest.raises(UnsupportedModel, match="in segments"):
        OnnxFormat().read(write(tmp_path, model.SerializeToString()))


def test_text_that_is_not_utf8_is_damage(tmp_path: Path) -> None:
    """Names are text or the file is damaged."""
    data = models.tiny().SerializeToString().replace(b"\x01y", b"\x01\xff")

    with pytest.raises(ModelError, match="damaged"):
        OnnxFormat().read(write(tmp_path, data))


def test_files_beyond_protobuf_are_refused_with_the_way_out(tmp_path: Path) -> None:
    """Over 2 GiB no engine reads the file; nothing of it is read here either."""
    path = write(tmp_path, models.tiny().SerializeToString())
    os.truncate(path, 1 << 31)

    with pytest.raises(UnsupportedModel, match="save_as_external_data"):
        OnnxFormat().read(path)


def with_hole(folder: Path, payload_bytes: int) -> Path:
    """A model whose only weights are `payload_bytes` zeros, most of them a hole in the file."""
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.UINT8, dims=[payload_bytes])
    # Tag and length of raw_data (field 9), then graph.initializer (5) and model.graph (7) around it.
    head = tensor.SerializeToString() + _open_field(9, payload_bytes)
    head = _open_field(5, len(head) + payload_bytes) + head
    rest = models.identity().graph.SerializeToString()
    model = models.identity()
    model.ClearField("graph")
    start = model.SerializeToString() + _open_field(7, len(rest) + len(head) + payload_bytes) + rest + head
    path = write(folder, start)
    os.truncate(path, len(start) + payload_bytes)
    return path


def _open_field(number: int, length: int) -> bytes:
    from nimify.formats.wire import LENGTH, encode_varint

    return encode_varint(number << 3 | LENGTH) + encode_varint(length)


def test_weights_are_skipped_not_read(tmp_path: Path) -> None:
    """Of a 300 MB model, kilobytes are read."""
    path = with_hole(tmp_path, 300 * MIB)
    with path.open("rb") as stream:
        reader = WireReader(stream.fileno(), path.stat().st_size)

        skeleton = read_skeleton(reader, "model.onnx")

    assert reader.bytes_read < MIB
    assert skeleton.model.ByteSize() < 4096
    assert OnnxFormat().read(path, digest=False).weights.total_bytes == 300 * MIB


def test_reading_and_hashing_a_large_model_needs_little_memory(tmp_path: Path) -> None:
    """The peak of a process that reads 200 MB of weights with their digest stays near that of a tiny model."""
    large = with_hole(tmp_path, 200 * MIB)
    (tmp_path / "tiny").mkdir()
    tiny = models.save(models.tiny(), tmp_path / "tiny" / "model.onnx")

    assert _peak_bytes(large) - _peak_bytes(tiny) < 16 * MIB


def _peak_bytes(path: Path) -> int:
    code = (
        "import pathlib, resource, sys; from nimify.formats.onnx import OnnxFormat;"
        "OnnxFormat().read(pathlib.Path(sys.argv[1]));"
        "sys.stdout.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))"
    )
    return int(subprocess.check_output([sys.executable, "-c", code, str(path)])) * 1024


def test_weights_as_unpacked_numbers_are_skipped_quickly(tmp_path: Path) -> None:
    """A million numbers with a tag each, as old writers store them, are not a million steps."""
    numbers = b"\x25\x00\x00\x80\x3f" * 1_000_000  # float_data (field 4), unpacked
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1_000_000])
    graph = models.identity().graph.SerializeToString()
    graph += encode_message(5, tensor.SerializeToString() + numbers)
    model = models.identity()
    model.ClearField("graph")
    path = write(tmp_path, model.SerializeToString() + encode_message(7, graph))

    info = OnnxFormat().read(path, digest=False)

    assert info.weights.bytes_by_type == {"FLOAT": 4_000_000}
