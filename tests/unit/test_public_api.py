"""The public surface: what users may import, and nothing by accident."""

from __future__ import annotations

import inspect

import pytest

import nimify
import nimify.core


def test_names_of_the_package() -> None:
    """`nimify` offers five names."""
    assert nimify.__all__ == ["ModelAnalyzer", "ModelConfig", "NIMService", "Nimifier", "__version__"]


def test_names_of_core() -> None:
    """`nimify.core` offers the same classes, and what they return."""
    assert nimify.core.__all__ == ["Draft", "ModelAnalyzer", "ModelConfig", "NIMService", "Nimifier", "ServerProcess"]


@pytest.mark.parametrize("module", [nimify, nimify.core])
def test_every_name_resolves_and_is_listed(module: object) -> None:
    """What is announced exists, and `dir` shows it."""
    names: list[str] = module.__all__  # type: ignore[attr-defined]  # both modules define it

    assert all(getattr(module, name) is not None for name in names)
    assert set(names) <= set(dir(module))


def test_both_doors_lead_to_the_same_class() -> None:
    """`nimify.Nimifier` is `nimify.core.Nimifier`."""
    assert nimify.Nimifier is nimify.core.Nimifier
    assert nimify.ModelConfig is nimify.core.ModelConfig


@pytest.mark.parametrize("module", [nimify, nimify.core])
def test_an_unknown_name_is_an_attribute_error(module: object) -> None:
    """A typo fails as in any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Nimifyer'"):
        _ = module.Nimifyer  # type: ignore[attr-defined]  # that is the point


@pytest.mark.parametrize("name", ["Draft", "ModelAnalyzer", "ModelConfig", "NIMService", "Nimifier", "ServerProcess"])
def test_public_classes_are_documented(name: str) -> None:
    """Each class and each public method has a docstring."""
    kind = getattr(nimify.core, name)
    own = {key: value for key, value in vars(kind).items() if not key.startswith("_") and inspect.isfunction(value)}

    assert inspect.getdoc(kind)
    assert [key for key, value in own.items() if not inspect.getdoc(value)] == []


def test_the_version_is_that_of_the_distribution() -> None:
    """The version in the code is what the package manager sees."""
    from importlib.metadata import version

    assert nimify.__version__ == version("nimify-anything")
