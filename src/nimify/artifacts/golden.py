"""golden/: recorded requests and their answers, as the very bodies that a client sends and gets.

    golden/golden.json            the cases, how closely answers must agree, and of which model they are
    golden/<case>.request.json    a request to /v2/models/<name>/infer; `.bin` when it has a binary form only
    golden/<case>.response.json   its answer

`curl --data-binary @golden/batch-1.request.json` replays one without nimify; for a `.bin` file the index tells the
value of the header `Inference-Header-Content-Length`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from nimify.analysis.analysis import Array, GoldenCase
from nimify.artifacts.artifact import Artifact, json_artifact
from nimify.artifacts.comparison import compare_outputs
from nimify.errors import BundleDamaged
from nimify.planning.assets import GOLDEN_FOLDER
from nimify.planning.plan import ServicePlan
from nimify.planning.tolerances import Tolerance
from nimify.serving.faults import RequestFault
from nimify.serving.open_inference import decode_request, decode_response, encode_request, encode_response
from nimify.serving.spec import ServiceSpec
from nimify.tensors import TensorSpec

INDEX: Final = f"{GOLDEN_FOLDER}/golden.json"
JSON_ELEMENTS: Final = 4096
"""A case with more elements is recorded in the binary form."""
_SCHEMA_VERSION: Final = 1
_FILE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*\.(request|response)\.(json|bin)")


@dataclass(frozen=True, slots=True)
class Body:
    """One recorded body.

    Attributes:
        content: Its bytes.
        header_length: How many of them are JSON; `None` when all are.
    """

    content: bytes
    header_length: int | None


@dataclass(frozen=True, slots=True)
class RecordedCase:
    """A golden case as it is on disk.

    Attributes:
        case: Names and tensors.
        request: The body to send.
        response: The body that came back when it was recorded.
    """

    case: GoldenCase
    request: Body
    response: Body


@dataclass(frozen=True, slots=True)
class Golden:
    """The content of golden/.

    Attributes:
        model_digest: Of the model that answered.
        tolerances: By name of output.
        cases: In the order in which they were recorded.
    """

    model_digest: str
    tolerances: Mapping[str, Tolerance]
    cases: tuple[RecordedCase, ...]


def golden_artifacts(plan: ServicePlan, cases: Iterable[GoldenCase]) -> list[Artifact]:
    """The files of golden/; none when there are no cases."""
    index: list[dict[str, Any]] = []
    files: list[Artifact] = []
    for case in cases:
        if not _fits(plan.service, case):
            continue
        recorded = record(plan.service, case)
        row: dict[str, Any] = {"name": case.name, "source": case.source}
        for kind, body in (("request", recorded.request), ("response", recorded.response)):
            name = f"{case.name}.{kind}.{'json' if body.header_length is None else 'bin'}"
            row[kind] = {"file": name, "header_length": body.header_length}
            files.append(Artifact(f"{GOLDEN_FOLDER}/{name}", body.content))
        index.append(row)
    if not index:
        return []
    document = {
        "schema_version": _SCHEMA_VERSION,
        "model_digest": plan.service.model_digest,
        "tolerances": plan.value("golden.tolerances"),
        "cases": index,
    }
    return [json_artifact(INDEX, document), *files]


def _fits(service: ServiceSpec, case: GoldenCase) -> bool:
    """Whether the service takes so many rows: the analysis asked for a few before anybody limited them."""
    rows = max((len(array) for array in case.inputs.values() if array.ndim), default=0)
    return not service.max_batch_size or rows <= service.max_batch_size


def record(service: ServiceSpec, case: GoldenCase) -> RecordedCase:
    """A case as the bodies that carry it, in JSON where they are short and JSON can hold them."""
    signature = service.signature
    binary = needs_binary(signature.inputs, case.inputs) or needs_binary(signature.outputs, case.outputs)
    request = encode_request(case.inputs, signature.inputs, id=case.name, binary=binary)
    response = encode_response(
        case.outputs,
        signature.outputs,
        model_name=service.name,
        model_version=service.model_version,
        id=case.name,
        binary=binary,
    )
    return RecordedCase(case, Body(*request), Body(*response))


def needs_binary(specs: Iterable[TensorSpec], arrays: Mapping[str, Array]) -> bool:
    """Whether JSON cannot carry these tensors, or would be long."""
    elements = 0
    for spec in specs:
        array = arrays[spec.name]
        elements += array.size
        if spec.datatype.name in {"FP16", "BF16"} or not _has_json_form(spec, array):
            return True
    return elements > JSON_ELEMENTS


def _has_json_form(spec: TensorSpec, array: Array) -> bool:
    if spec.datatype.is_float:
        return bool(np.isfinite(array).all())
    if spec.datatype.name == "BYTES":
        return all(_is_utf8(item) for item in array.ravel().tolist())
    return True


def _is_utf8(item: bytes) -> bool:
    try:
        item.decode()
    except UnicodeDecodeError:
        return False
    return True


def load_golden(bundle: Path) -> Golden | None:
    """Read golden/ of a bundle; `None` when there is none.

    Raises:
        BundleDamaged: It cannot be read, or is not what was written.
    """
    path = bundle / INDEX
    if not path.exists():
        return None
    try:
        index = json.loads(path.read_bytes())
        tolerances = {name: Tolerance(**row) for name, row in index["tolerances"].items()}
        cases = tuple(_load_case(path.parent, row) for row in index["cases"])
        return Golden(str(index["model_digest"]), tolerances, cases)
    except OSError as error:
        raise BundleDamaged(
            f"A golden file of '{bundle}' cannot be read ({error.strerror}).",
            remedy="Record them again with: nimify create MODEL --force",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, RequestFault) as error:
        raise BundleDamaged(
            f"The golden files of '{bundle}' do not hold recorded requests.",
            remedy="Record them again with: nimify create MODEL --force",
        ) from error


def _load_case(folder: Path, row: Mapping[str, Any]) -> RecordedCase:
    request, response = _load_body(folder, row["request"]), _load_body(folder, row["response"])
    case = GoldenCase(
        name=str(row["name"]),
        source=str(row["source"]),
        inputs=decode_request(request.content, request.header_length).tensors,
        outputs=decode_response(response.content, response.header_length).tensors,
    )
    return RecordedCase(case, request, response)


def _load_body(folder: Path, row: Mapping[str, Any]) -> Body:
    name, length = row["file"], row["header_length"]
    if not _FILE_NAME.fullmatch(name):
        raise ValueError(name)
    return Body((folder / name).read_bytes(), None if length is None else int(length))


def kept(plan: ServicePlan, cases: Iterable[GoldenCase], previous: Golden | None) -> tuple[GoldenCase, ...]:
    """The cases to write: what was recorded before where it still holds, so that another CPU changes no file.

    A case is kept when it is of the same model, asks the same, and was answered the same within the tolerance.
    """
    fresh = tuple(cases)
    if previous is None or previous.model_digest != plan.service.model_digest:
        return fresh
    tolerances = {name: Tolerance(**row) for name, row in plan.value("golden.tolerances").items()}
    known = {recorded.case.name: recorded.case for recorded in previous.cases}
    return tuple(_kept(plan.service, case, known.get(case.name), tolerances) for case in fresh)


def _kept(
    service: ServiceSpec, case: GoldenCase, known: GoldenCase | None, tolerances: Mapping[str, Tolerance]
) -> GoldenCase:
    if known is None or known.inputs.keys() != case.inputs.keys():
        return case
    if any(not _identical(known.inputs[name], array) for name, array in case.inputs.items()):
        return case
    if compare_outputs(service.signature.outputs, known.outputs, case.outputs, tolerances) is not None:
        return case
    return GoldenCase(case.name, case.source, case.inputs, known.outputs)


def _identical(first: Array, second: Array) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return first.tolist() == second.tolist() if first.dtype.hasobject else first.tobytes() == second.tobytes()
