"""The bill of materials of a service, in CycloneDX 1.6: its model, its files, and the packages that serve it.

It is made from the bundle as it lies on the disk, and is the same for the same files: it carries no time, and its
serial number is derived from its content.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.container.container import CONTAINER_FOLDER
from nimify.errors import BundleDamaged
from nimify.serving.spec import PLAN_FILE, ServiceSpec
from nimify.tensors import TensorSpec

REQUIREMENTS_FILE: Final = f"{CONTAINER_FOLDER}/requirements.txt"
_SPEC_VERSION: Final = "1.6"
_PRODUCT: Final = "nimify-anything"
_NAMESPACE: Final = uuid.UUID("3c1fb4f5-5f0e-5a0b-9a52-5d7c6f6f2f11")
"""Our own, for serial numbers that follow from the content."""
_REQUIREMENT: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9._+!-]+)\s*(?:;\s*(?P<marker>.*))?")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One pinned package.

    Attributes:
        marker: On which systems it is installed; empty for all.
        hashes: Hex SHA-256 of each file that pip may install for it.
    """

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    @property
    def purl(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{re.sub(r'[-_.]+', '-', self.name).lower()}@{self.version}"


def sbom(bundle: Bundle) -> dict[str, Any]:
    """The bill of materials of a bundle.

    Raises:
        BundleDamaged: plan.json or the list of requirements cannot be read.
    """
    spec, generator = bundle.service, bundle.manifest.generator_version
    service = f"service:{spec.name}@{spec.version}"
    model = _model(spec, _described(bundle))
    packages = [
        {"type": "library", "bom-ref": f"pkg:pypi/{_PRODUCT}@{generator}", "name": _PRODUCT, "version": generator,
         "purl": f"pkg:pypi/{_PRODUCT}@{generator}"},
        *(_package(requirement) for requirement in read_requirements(bundle)),
    ]  # fmt: skip
    parts = [str(component["bom-ref"]) for component in (model, *packages)]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": _SPEC_VERSION,
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": _PRODUCT, "version": generator}]},
            "component": {
                "type": "application",
                "bom-ref": service,
                "name": spec.name,
                "version": spec.version,
                **({"description": spec.description} if spec.description else {}),
            },
        },
        "components": [model, *packages],
        "dependencies": [{"ref": service, "dependsOn": parts}, *({"ref": part} for part in parts)],
    }
    number = uuid.uuid5(_NAMESPACE, json.dumps(document, sort_keys=True))
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{_SPEC_VERSION}.schema.json",
        "serialNumber": f"urn:uuid:{number}",
        **document,
    }


def read_requirements(bundle: Bundle) -> list[Requirement]:
    """The packages that images install, as they are pinned in the bundle.

    Raises:
        BundleDamaged: The list cannot be read, or pins something in another way.
    """
    path = bundle.path / REQUIREMENTS_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BundleDamaged(f"'{path}' cannot be read.") from error
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [_requirement(line) for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _requirement(line: str) -> Requirement:
    pinned, *_ = line.partition("--hash=")
    match = _REQUIREMENT.fullmatch(pinned.strip())
    if match is None:
        raise BundleDamaged(f"'{REQUIREMENTS_FILE}' has a line that pins no package: {pinned.strip()}")
    return Requirement(match["name"], match["version"], (match["marker"] or "").strip(), tuple(_HASH.findall(line)))


def _package(requirement: Requirement) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": requirement.purl,
        "name": requirement.name,
        "version": requirement.version,
        "purl": requirement.purl,
    }
    if requirement.hashes:
        # Each is the hash of one distribution of the package, and pip installs one of them: so they are not its own.
        hashes = [_sha256(digest) for digest in requirement.hashes]
        component["externalReferences"] = [{"type": "distribution", "url": requirement.purl, "hashes": hashes}]
    if requirement.marker:
        component["properties"] = [_property("marker", requirement.marker)]
    return component


def _model(spec: ServiceSpec, described: Mapping[str, Any]) -> dict[str, Any]:
    """The model as a component, with its files inside."""
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{spec.name}@{spec.model_digest}",
        "name": spec.name,
        "version": spec.version,
        **({"description": spec.description} if spec.description else {}),
    }
    if len(spec.model_files) == 1:
        component["hashes"] = [_sha256(spec.model_files[0].sha256)]
    if spec.license.name:
        url = {"url": spec.license.url} if spec.license.url else {}
        component["licenses"] = [{"license": {"name": spec.license.name, **url}}]
    component["components"] = [
        {"type": "file", "bom-ref": f"file:{file.path}", "name": file.path, "hashes": [_sha256(file.sha256)]}
        for file in spec.model_files
    ]
    component["modelCard"] = {
        "modelParameters": {
            "inputs": [{"format": _format(tensor)} for tensor in spec.signature.inputs],
            "outputs": [{"format": _format(tensor)} for tensor in spec.signature.outputs],
        }
    }
    component["properties"] = [_property(f"model:{name}", value) for name, value in _facts(spec, described)]
    return component


def _facts(spec: ServiceSpec, described: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known of the model in figures."""
    weights = described["weights"]
    yield "digest", spec.model_digest
    yield "format", f"{described['format']} {described['format_version']}"
    yield "size-bytes", str(described["size_bytes"])
    yield "parameters", str(weights["parameters"])
    yield "weight-bytes", str(weights["total_bytes"])
    for kind, size in sorted(weights["bytes_by_type"].items()):
        yield f"weight-bytes:{kind}", str(size)
    for domain, version in sorted(described["opsets"].items()):
        yield f"opset:{domain}", str(version)
    if described["producer"]:
        yield "producer", str(described["producer"])


def _described(bundle: Bundle) -> Mapping[str, Any]:
    """What plan.json says about the model file."""
    path = bundle.path / PLAN_FILE
    try:
        described: Mapping[str, Any] = json.loads(path.read_bytes())["model"]
        for key in ("weights", "format", "format_version", "size_bytes", "opsets", "producer"):
            described[key]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleDamaged(
            f"'{path}' does not describe a model.", remedy="Write it again with: nimify create MODEL --force"
        ) from error
    return described


def _format(tensor: TensorSpec) -> str:
    return f"{tensor.name}: {tensor.datatype.name}[{', '.join(map(str, tensor.shape))}]"


def _sha256(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": f"nimify:{name}", "value": value}
