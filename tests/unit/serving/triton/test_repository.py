"""The model repository: only what was planned lies in it, and what Triton says agrees with the plan."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nimify.errors import BundleDamaged
from nimify.serving.spec import ServiceSpec
from nimify.serving.triton.repository import check_metadata, instances, repository_of

METADATA = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}],
}


@pytest.fixture
def bundle(make_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_bundle("tiny"), tmp_path / "bundle"))


def test_the_repository_of_a_bundle_is_where_the_plan_says(bundle: Path) -> None:
    """As `create` writes it."""
    assert repository_of(bundle, ServiceSpec.load(bundle)) == bundle / "model_repository"


@pytest.mark.parametrize("extra", ["another/config.pbtxt", "tiny/2/model.onnx", "tiny/configs/big.pbtxt"])
def test_what_nobody_planned_is_refused(extra: str, bundle: Path) -> None:
    """Triton would serve another model beside ours, or a later version in its place."""
    path = bundle / "model_repository" / extra
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    with pytest.raises(BundleDamaged, match=f"'{Path(extra).parts[-2]}'.*Move it out"):
        repository_of(bundle, ServiceSpec.load(bundle))


def test_a_missing_configuration_is_refused(bundle: Path) -> None:
    """Triton would make one up, were it allowed to."""
    (bundle / "model_repository/tiny/config.pbtxt").unlink()
    with pytest.raises(BundleDamaged, match=r"no config\.pbtxt"):
        repository_of(bundle, ServiceSpec.load(bundle))


def test_a_signature_that_differs_from_the_plan_is_refused(bundle: Path) -> None:
    """The owner may edit config.pbtxt, but not past the API that the bundle promises."""
    spec = ServiceSpec.load(bundle)
    check_metadata(METADATA, spec)
    changed: dict[str, Any] = {**METADATA, "outputs": [{"name": "y", "datatype": "FP64", "shape": [-1, 4]}]}
    with pytest.raises(BundleDamaged, match="other inputs or outputs"):
        check_metadata(changed, spec)


def test_instances_are_counted_over_all_gpus() -> None:
    """Two copies on each of three GPUs, and one on the CPU."""
    groups = [{"count": 2, "gpus": [0, 1, 2]}, {"count": 1, "gpus": []}]
    assert instances({"instance_group": groups}) == 7
    assert instances({}) == 1
