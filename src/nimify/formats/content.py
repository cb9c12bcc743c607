"""What a file looks like by its first bytes, so that a wrong file gets an answer instead of a puzzle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Content:
    """A kind of file that people take for a model, or a model in another format.

    Attributes:
        what: How to call it, e.g. `a PNG image`.
        remedy: What to do instead.
    """

    what: str
    remedy: str


_NAME_A_MODEL: Final = "Name the exported model, e.g. model.onnx."
_FROM_TORCH: Final = "Export the model with torch.onnx.export, from the code that defines it."
_FROM_KERAS: Final = "Convert it with tf2onnx, or export it with model.export(..., format='onnx')."
_FROM_ESTIMATOR: Final = "Convert the model with skl2onnx, or with torch.onnx.export if it is a PyTorch module."

# Longer and more telling beginnings first.
_BEGINNINGS: Final = (
    (b"\x89PNG\r\n\x1a\n", Content("a PNG image", _NAME_A_MODEL)),
    (b"\xff\xd8\xff", Content("a JPEG image", _NAME_A_MODEL)),
    (b"GIF8", Content("a GIF image", _NAME_A_MODEL)),
    (b"%PDF-", Content("a PDF document", _NAME_A_MODEL)),
    (b"\x89HDF\r\n\x1a\n", Content("an HDF5 file, as Keras writes them", _FROM_KERAS)),
    (b"GGUF", Content("a GGUF file for llama.cpp", "Serve it with a llama.cpp server, or export the model to ONNX.")),
    (b"\x93NUMPY", Content("a numpy array", _NAME_A_MODEL)),
    (b"version https://git-lfs", Content("a Git LFS pointer, not the file itself", "Fetch it with: git lfs pull")),
    (b"PK\x03\x04", Content("a ZIP archive, as torch.save, Keras and numpy write them", _FROM_TORCH)),
    (b"PK\x05\x06", Content("an empty ZIP archive", _NAME_A_MODEL)),
    (b"\x1f\x8b", Content("a gzip archive", "Unpack it and name the model file inside.")),
    (b"BZh", Content("a bzip2 archive", "Unpack it and name the model file inside.")),
    (b"\xfd7zXZ\x00", Content("an xz archive", "Unpack it and name the model file inside.")),
    (b"\x28\xb5\x2f\xfd", Content("a Zstandard archive", "Unpack it and name the model file inside.")),
    (b"7z\xbc\xaf\x27\x1c", Content("a 7-Zip archive", "Unpack it and name the model file inside.")),
    (b"\x7fELF", Content("a program or shared library", _NAME_A_MODEL)),
    (b"MZ", Content("a Windows program", _NAME_A_MODEL)),
    (b"#!", Content("a script", _NAME_A_MODEL)),
    (b"ptrt", Content("a TensorRT engine", "Name the ONNX file that it was built from.")),
    (b"ftrt", Content("a TensorRT engine", "Name the ONNX file that it was built from.")),
)
_PICKLE: Final = Content("a pickle, which can run any program when it is loaded", _FROM_ESTIMATOR)
_SAFETENSORS: Final = Content("a safetensors file, which holds weights but no graph", _FROM_TORCH)
_TFLITE: Final = Content("a TensorFlow Lite model", "Convert it with tf2onnx --tflite.")
_ORT: Final = Content("an ONNX Runtime .ort file", "Name the ONNX file that it was made from.")
_TAR: Final = Content("a tar archive", "Unpack it and name the model file inside.")
_JSON: Final = Content("a JSON text", _NAME_A_MODEL)
_MARKUP: Final = Content("an HTML or XML page, perhaps a failed download", "Download the model again.")
_TEXT: Final = Content("a text file", _NAME_A_MODEL)


def recognised(head: bytes) -> Content | None:
    """What a file is by its first bytes, when they are telling; `None` for what could be anything."""
    for beginning, content in _BEGINNINGS:
        if head.startswith(beginning):
            return content
    if len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return _PICKLE
    if head[4:8] in {b"TFL3", b"ORTM"}:
        return _TFLITE if head[4:8] == b"TFL3" else _ORT
    if len(head) > 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= 100_000_000:
        return _SAFETENSORS
    if head[257:262] == b"ustar":
        return _TAR
    return _text(head)


def _text(head: bytes) -> Content | None:
    try:
        # The last character may have been cut in two.
        text = head.decode("utf-8") if len(head) < 4 else head[:-3].decode("utf-8", "strict")
    except UnicodeDecodeError:
        return None
    if not text or any(not (character.isprintable() or character in "\t\r\n") for character in text):
        return None
    start = text.lstrip()
    if start.startswith(("{", "[")):
        return _JSON
    return _MARKUP if start.startswith("<") else _TEXT
