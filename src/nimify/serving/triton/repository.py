"""What Triton finds in the model repository: checked before it starts, and asked of it when it is ready.

Triton serves every folder of a repository. A folder that nobody planned would be served with the model, and a later
version instead of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nimify.errors import BundleDamaged
from nimify.serving.spec import ServiceSpec
from nimify.tensors import TensorSpec

CONFIG_FILE: Final = "config.pbtxt"
_REMEDY: Final = "Write the bundle again with: nimify create MODEL --force"


def repository_of(bundle: Path, spec: ServiceSpec) -> Path:
    """The model repository of a bundle, seen to hold the planned version of the planned model and no other.

    Raises:
        BundleDamaged: It holds something else.
    """
    version = (bundle / spec.model_file).parent
    model, repository = version.parent, version.parent.parent
    if (model.name, version.name) != (spec.name, spec.model_version):
        raise BundleDamaged(f"'{spec.model_file}' does not lie where Triton looks for it.", remedy=_REMEDY)
    if not (model / CONFIG_FILE).is_file():
        raise BundleDamaged(f"'{spec.name}' has no {CONFIG_FILE} for Triton.", remedy=_REMEDY)
    _refuse_others(repository, {spec.name})
    _refuse_others(model, {spec.model_version, CONFIG_FILE})
    return repository


def _refuse_others(folder: Path, expected: set[str]) -> None:
    try:
        others = sorted({path.name for path in folder.iterdir()} - expected)
    except OSError as error:
        raise BundleDamaged(f"'{folder}' cannot be read ({error.strerror}).") from error
    if others:
        raise BundleDamaged(
            f"'{folder.name}' in the model repository holds '{others[0]}', which Triton would load or misread.",
            remedy=f"Move it out of the model repository; what belongs there is {', '.join(sorted(expected))}.",
        )


def check_metadata(metadata: Mapping[str, Any], spec: ServiceSpec) -> None:
    """Compare what Triton loaded with the plan.

    Args:
        metadata: What Triton answers at `/v2/models/{name}`.
        spec: The plan's.

    Raises:
        BundleDamaged: The inputs or outputs differ.
    """
    found = [_described(metadata.get(side, ())) for side in ("inputs", "outputs")]
    planned = [_planned(spec.signature.inputs), _planned(spec.signature.outputs)]
    if found != planned:
        raise BundleDamaged(
            f"The {CONFIG_FILE} of '{spec.name}' has other inputs or outputs than the plan says.", remedy=_REMEDY
        )


def _described(tensors: Any) -> set[tuple[str, str]]:
    return {(tensor["name"], tensor["datatype"]) for tensor in tensors}


def _planned(tensors: tuple[TensorSpec, ...]) -> set[tuple[str, str]]:
    return {(tensor.name, tensor.datatype.name) for tensor in tensors}


def instances(config: Mapping[str, Any]) -> int:
    """How many copies of the model run at once.

    Args:
        config: What Triton answers at `/v2/models/{name}/config`, where it has put every GPU in.
    """
    groups = config.get("instance_group", ())
    return max(1, sum(int(group.get("count", 1)) * max(1, len(group.get("gpus", ()))) for group in groups))
