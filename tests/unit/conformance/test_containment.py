"""A bundle from somebody else's hand: what leads out of it or never ends is not opened by any check."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nimify.artifacts.bundle import Bundle
from nimify.conformance.offline import chosen_checks, validate_bundle
from nimify.conformance.report import Status
from nimify.errors import BundleDamaged


def replace(bundle: Path, name: str, target: str) -> None:
    (bundle / name).unlink()
    (bundle / name).symlink_to(target)


def _secret(bundle: Path) -> None:
    replace(bundle, "openapi.json", "/etc/passwd")


def _endless(bundle: Path) -> None:
    replace(bundle, "manifest.json", "/dev/zero")


def _endless_model(bundle: Path) -> None:
    replace(bundle, "model_repository/tiny/1/model.onnx", "/dev/zero")


def _pipe(bundle: Path) -> None:
    (bundle / "plan.json").unlink()
    os.mkfifo(bundle / "plan.json")


def _folder(bundle: Path) -> None:
    (bundle / "processors").symlink_to("/etc", target_is_directory=True)


def _model_folder(bundle: Path) -> None:
    (bundle / "model_repository" / "tiny" / "1" / "more").symlink_to("/etc", target_is_directory=True)


def _itself(bundle: Path) -> None:
    replace(bundle, "nimify.yaml", "nimify.yaml")


def _huge(bundle: Path) -> None:
    with (bundle / "golden" / "golden.json").open("r+b") as stream:
        stream.truncate(1 << 40)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_secret, "'openapi.json' is a link out of the bundle"),
        (_endless, "'manifest.json' is a link out of the bundle"),
        (_endless_model, "'model_repository/tiny/1/model.onnx' is not a file"),
        (_pipe, "'plan.json' is not a file"),
        (_folder, "'processors' is a link out of the bundle"),
        (_model_folder, "is a link to a folder that lies elsewhere"),
        (_itself, "'nimify.yaml' leads nowhere"),
        (_huge, "'golden/golden.json' is longer than 256 MiB"),
    ],
)
def test_nothing_of_such_a_bundle_is_read(damage: Callable[[Path], None], said: str, broken: Path) -> None:
    """The error names the file, and no check was made."""
    made: list[Path] = []

    def check(bundle: Bundle) -> None:
        made.append(bundle.path)

    damage(broken)
    with pytest.raises(BundleDamaged, match=said):
        validate_bundle(broken, checks={"any": check})
    assert made == []


def test_a_linked_model_is_read(broken: Path, tmp_path: Path) -> None:
    """`nimify create --link` makes such bundles."""
    model = broken / "model_repository/tiny/1/model.onnx"
    model.rename(tmp_path / "model.onnx")
    model.symlink_to(tmp_path / "model.onnx")
    (result,) = validate_bundle(broken, checks=chosen_checks(["model"])).results
    assert result.status is Status.PASSED


def test_what_is_missing_is_left_to_the_checks(broken: Path) -> None:
    """A link to nothing is a missing file, which the manifest tells."""
    replace(broken, "openapi.json", "nowhere")
    (result,) = validate_bundle(broken, checks=chosen_checks(["manifest"])).results
    assert (result.status, "openapi.json" in result.message) == (Status.FAILED, True)
