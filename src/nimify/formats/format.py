"""The contract of a model format, and `ModelInfo`: what can be known of a model file without running it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from nimify.findings import Finding
from nimify.tensors import Signature

ProgressCallback = Callable[[int], None]
"""Told how many further bytes were dealt with."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file that belongs to a model.

    Attributes:
        location: Path relative to the folder of the model file, with forward slashes, as the model names it.
        size_bytes: Length of the content.
        sha256: Hex digest of the content; empty when it was not computed.
    """

    location: str
    size_bytes: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Weights:
    """The stored parameters of a model.

    Attributes:
        count: Number of tensors.
        parameters: Number of elements in all of them.
        bytes_by_type: Bytes per element type, by the format's own type name (`FLOAT`, `INT8`), sorted by name.
    """

    count: int
    parameters: int
    bytes_by_type: Mapping[str, int]

    @property
    def total_bytes(self) -> int:
        """Bytes of all weights together."""
        return sum(self.bytes_by_type.values())


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model file says of itself.

    Attributes:
        path: The model file, absolute. Not part of `to_dict`: the product must not depend on where it was made.
        format: Name of the format, e.g. `onnx`.
        files: The model file first, then its external data, sorted by location.
        digest: `sha256:<hex>` over all files; see `combined_digest`. Empty when it was not computed.
        signature: Inputs and outputs.
        format_version: Version of the file format, for ONNX the IR version.
        opsets: Operator set version per domain; the standard domain is `ai.onnx`.
        operators: How often each operator occurs, subgraphs and functions included; `domain::Name` outside `ai.onnx`.
        weights: The stored parameters.
        producer: Tool and version that wrote the file, e.g. `pytorch 2.9.0`; empty when not said.
        metadata: Free text that the file carries, by key; untrusted.
        findings: What a person should know about the file.
    """

    path: Path
    format: str
    files: tuple[SourceFile, ...]
    digest: str
    signature: Signature
    format_version: str
    opsets: Mapping[str, int]
    operators: Mapping[str, int]
    weights: Weights
    producer: str
    metadata: Mapping[str, str]
    findings: tuple[Finding, ...] = ()

    @property
    def name(self) -> str:
        """The model file's name."""
        return self.path.name

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.size_bytes for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """The information as plain data, for JSON; without `path`."""
        return {
            "file": self.name,
            "format": self.format,
            "files": [asdict(file) for file in self.files],
            "digest": self.digest,
            "size_bytes": self.size_bytes,
            "signature": self.signature.to_dict(),
            "format_version": self.format_version,
            "opsets": dict(self.opsets),
            "operators": dict(self.operators),
            "weights": {
                "count": self.weights.count,
                "parameters": self.weights.parameters,
                "total_bytes": self.weights.total_bytes,
                "bytes_by_type": dict(self.weights.bytes_by_type),
            },
            "producer": self.producer,
            "metadata": dict(self.metadata),
            "findings": [finding.to_dict() for finding in self.findings],
        }


class ModelFormat(Protocol):
    """Recognises and reads one kind of model file; an entry point of `nimify.formats`."""

    name: str
    """Short name, e.g. `onnx`."""

    def claims(self, path: Path, head: bytes) -> bool:
        """Whether this is such a file, by its first 4096 bytes (`head`) and, only as a hint, its name.

        Must not raise for any content, nor read more of the file than it must.
        """
        ...

    def read(self, path: Path, *, digest: bool = True, progress: ProgressCallback | None = None) -> ModelInfo:
        """Read what the file says, without running it and without loading its weights.

        Raises:
            ModelError: The file is damaged or is not such a file.
            UnsupportedModel: It uses something that nimify does not serve.
            UnsafeModel: It reaches outside its own folder, or breaks a limit.
        """
        ...


def sha256_of(path: Path, *, progress: ProgressCallback | None = None) -> str:
    """Hex SHA-256 of a file, streamed."""
    with path.open("rb") as stream:
        return sha256_of_stream(stream, progress=progress)


def sha256_of_stream(stream: BinaryIO, *, progress: ProgressCallback | None = None) -> str:
    """Hex SHA-256 of what is left of an open file."""
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
        if progress is not None:
            progress(len(chunk))
    return digest.hexdigest()


def combined_digest(files: Iterable[SourceFile]) -> str:
    """One digest for a model: that of its only file, or that over `<sha256>  <location>` lines sorted by location.

    The lines are what `sha256sum` prints, so `sha256sum $(…) | sort -k2 | sha256sum` gives the same answer.
    The model file itself is listed under its own location, so every file counts.
    """
    rows = sorted((file.location, file.sha256) for file in files)
    if len(rows) == 1:
        return f"sha256:{rows[0][1]}"
    listing = "".join(f"{sha256}  {location}\n" for location, sha256 in rows)
    return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"
