"""ONNX files, read without running them and without loading their weights."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

import onnx

from nimify.errors import ModelError, UnsafeModel, shortened
from nimify.findings import Finding, Severity
from nimify.formats.content import recognised
from nimify.formats.external_data import ExternalData
from nimify.formats.format import ModelInfo, ProgressCallback, SourceFile, combined_digest, sha256_of_stream
from nimify.formats.limits import MAX_METADATA_BYTES, MAX_NAME_LENGTH
from nimify.formats.model_file import open_model_file, source_name
from nimify.formats.onnx_graph import STANDARD_DOMAIN, all_nodes, all_tensors, domain_of
from nimify.formats.onnx_header import looks_like_model
from nimify.formats.onnx_signature import read_signature
from nimify.formats.onnx_skeleton import Skeleton, read_skeleton
from nimify.formats.onnx_text import check_text
from nimify.formats.onnx_weights import read_weights
from nimify.formats.wire import WireReader

_ENGINE_DOMAINS: Final = frozenset(
    {STANDARD_DOMAIN, "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft"}
)
"""Domains whose operators come with ONNX Runtime."""


class OnnxFormat:
    """The ONNX format, with or without external data."""

    name = "onnx"

    def claims(self, path: Path, head: bytes) -> bool:
        """Whether a file starts like an ONNX model, or is called one and is nothing else that is known."""
        return looks_like_model(head) or (path.suffix.lower() == ".onnx" and recognised(head) is None)

    def read(self, path: Path, *, digest: bool = True, progress: ProgressCallback | None = None) -> ModelInfo:
        """Read a model file; see `ModelFormat.read`."""
        source = source_name(path)
        with open_model_file(path) as (descriptor, size):
            resolved = _resolved(path, source)
            external = ExternalData(resolved.parent, source, resolved.name)
            info = _described(read_skeleton(WireReader(descriptor, size), source), resolved, source, external)
            with os.fdopen(descriptor, "rb", closefd=False) as stream:
                sha256 = sha256_of_stream(stream, progress=progress) if digest else ""
        files = (SourceFile(resolved.name, size, sha256), *external.files(digest=digest, progress=progress))
        return replace(info, files=files, digest=combined_digest(files) if digest else "")


def _resolved(path: Path, source: str) -> Path:
    """Where the file really is; the user may name it through links, and its data lies beside the real one."""
    resolved = path.resolve()
    try:
        str(resolved).encode("utf-8")
    except UnicodeEncodeError:
        raise ModelError(source, "its path is not UTF-8 text.", remedy="Rename the file or its folder.") from None
    return resolved


def _described(skeleton: Skeleton, path: Path, source: str, external: ExternalData) -> ModelInfo:
    """Everything that the graph says; files and digest are filled in by the caller."""
    model = skeleton.model
    if not model.HasField("graph"):
        raise ModelError(source, "it has no graph.", remedy="Copy or export it again.")
    nodes = all_nodes(model, source)
    tensors = all_tensors(model, nodes, source)
    check_text(model, nodes, tensors, source)
    weights, external_tensors = read_weights(skeleton, tensors, source)
    external.check(external_tensors)
    return ModelInfo(
        path=path,
        format=OnnxFormat.name,
        files=(),
        digest="",
        signature=read_signature(model.graph, source),
        format_version=str(model.ir_version),
        opsets=_opsets(model, source),
        operators=dict(sorted(_operators(nodes, source).items())),
        weights=weights,
        producer=shortened(f"{model.producer_name} {model.producer_version}".strip()),
        metadata=_metadata(model, source),
        findings=_domain_findings(model, nodes),
    )


def _operators(nodes: Iterable[onnx.NodeProto], source: str) -> Counter[str]:
    operators: Counter[str] = Counter()
    for node in nodes:
        if max(len(node.op_type), len(node.domain)) > MAX_NAME_LENGTH:
            raise UnsafeModel(source, f"the name of an operator is longer than {MAX_NAME_LENGTH} characters.")
        domain = domain_of(node.domain)
        operators[node.op_type if domain == STANDARD_DOMAIN else f"{domain}::{node.op_type}"] += 1
    return operators


def _opsets(model: onnx.ModelProto, source: str) -> dict[str, int]:
    opsets = {domain_of(opset.domain): opset.version for opset in model.opset_import}
    if not opsets:
        raise ModelError(source, "it does not say which operator set it uses.", remedy="Export it again.")
    return dict(sorted(opsets.items()))


def _metadata(model: onnx.ModelProto, source: str) -> dict[str, str]:
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if sum(len(key) + len(value) for key, value in metadata.items()) > MAX_METADATA_BYTES:
        raise UnsafeModel(source, f"its metadata exceeds {MAX_METADATA_BYTES} characters.")
    return metadata


def _domain_findings(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> tuple[Finding, ...]:
    """Warnings for operators that ONNX Runtime does not bring and the model does not define itself."""
    own = {domain_of(function.domain) for function in model.functions}
    custom = {domain_of(node.domain) for node in nodes} - own - _ENGINE_DOMAINS
    return tuple(
        Finding(
            "onnx.custom-operators",
            Severity.WARNING,
            f"The model uses operators of the domain '{shortened(domain)}', which ONNX Runtime does not bring.",
            "Export the model with standard operators, or use an engine that has these.",
        )
        for domain in sorted(custom)
    )
