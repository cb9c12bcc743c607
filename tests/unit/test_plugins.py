"""Extensions as entry points, with packages written into a folder on the path."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest

from nimify import plugins
from nimify.errors import PluginError

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Write a package with entry points into a folder of its own on `sys.path`."""

    def write(distribution: str, entries: dict[str, str], *, group: str = plugins.PROCESSORS, module: str = "") -> None:
        folder = tmp_path / distribution
        info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {value}" for name, value in entries.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")
        if module:
            (folder / f"{distribution.replace('-', '_')}.py").write_text(module)
        monkeypatch.syspath_prepend(str(folder))

    return write


def test_the_built_ins_come_through_the_same_door() -> None:
    """Declared as anybody else's, and each one loads."""
    assert {"scale", "softmax", "top_k"} <= set(plugins.available(plugins.PROCESSORS))
    assert plugins.available(plugins.ENGINES)["onnxruntime"].distribution == "nimify-anything"
    for group in (plugins.FORMATS, plugins.ENGINES, plugins.PROCESSORS):
        for plugin in plugins.available(group).values():
            if plugin.distribution == "nimify-anything":
                assert callable(plugin.load())


def test_listing_imports_nothing(install: Install) -> None:
    """Only the chosen one is imported, when it is loaded."""
    install("acme-blur", {"blur": "acme_blur:Blur"}, module="class Blur: pass\n")
    plugin = plugins.available(plugins.PROCESSORS)["blur"]
    assert (plugin.name, plugin.group, plugin.distribution) == ("blur", "nimify.processors", "acme-blur")
    assert plugins.find(plugins.PROCESSORS, "blur") == plugin
    assert "acme_blur" not in sys.modules
    try:
        assert plugin.load().__name__ == "Blur"
    finally:
        sys.modules.pop("acme_blur", None)


def test_groups_are_apart(install: Install) -> None:
    """The same name may be an engine and a processor."""
    install("acme-blur", {"softmax": "acme_blur:Engine"}, group=plugins.ENGINES)
    assert plugins.find(plugins.ENGINES, "softmax").distribution == "acme-blur"
    assert plugins.find(plugins.PROCESSORS, "softmax").distribution == "nimify-anything"


def test_two_packages_with_one_name_are_an_error(install: Install) -> None:
    """Whichever came first on the path would win otherwise; the message names both."""
    install("acme-soft", {"softmax": "acme_soft:Softmax"})
    with pytest.raises(PluginError, match="'softmax'") as caught:
        plugins.available(plugins.PROCESSORS)
    assert "acme-soft" in caught.value.message
    assert "nimify-anything" in caught.value.message
    assert "NIMIFY_PLUGINS" in caught.value.remedy


@pytest.mark.parametrize(
    ("chosen", "blur", "glow"),
    [
        (None, True, True),
        ("", False, False),
        ("acme-blur", True, False),
        (" acme-glow , acme-blur ", True, True),
        ("Acme_Blur", True, False),
        ("acme.blur,", True, False),
        ("nothing-else", False, False),
    ],
)
def test_a_list_of_packages_limits_whose_plugins_count(
    install: Install, monkeypatch: pytest.MonkeyPatch, chosen: str | None, blur: bool, glow: bool
) -> None:
    """By the names of packages, written as pip understands them; nimify's own always count."""
    install("acme-blur", {"blur": "acme_blur:Blur"})
    install("acme-glow", {"glow": "acme_glow:Glow"})
    if chosen is None:
        monkeypatch.delenv("NIMIFY_PLUGINS", raising=False)
    else:
        monkeypatch.setenv("NIMIFY_PLUGINS", chosen)
    names = set(plugins.available(plugins.PROCESSORS))
    assert ("blur" in names, "glow" in names, "softmax" in names) == (blur, glow, True)


def test_a_package_that_is_left_out_does_not_collide(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """This is the way out of two packages with one name."""
    install("acme-soft", {"softmax": "acme_soft:Softmax"})
    monkeypatch.setenv("NIMIFY_PLUGINS", "acme-blur")
    assert plugins.find(plugins.PROCESSORS, "softmax").distribution == "nimify-anything"


def test_a_package_installed_twice_is_one(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editable install beside a wheel is no collision with itself."""
    install("acme-blur", {"blur": "acme_blur:Blur"})
    monkeypatch.syspath_prepend(str(tmp_path / "." / "acme-blur"))
    assert plugins.find(plugins.PROCESSORS, "blur").distribution == "acme-blur"


@pytest.mark.parametrize(
    ("name", "says"),
    [("sofmax", "Did you mean 'softmax'? Available: "), ("zzz", "Available: "), ("", "Available: ")],
)
def test_an_unknown_name_gets_a_suggestion(name: str, says: str) -> None:
    """And the list of those that exist, sorted."""
    with pytest.raises(PluginError, match=f"There is no nimify.processors plugin named '{name}'") as caught:
        plugins.find(plugins.PROCESSORS, name)
    assert caught.value.remedy.startswith(says)
    listed = caught.value.remedy.split("Available: ")[1].removesuffix(".").split(", ")
    assert listed == sorted(listed)
    assert {"scale", "softmax", "top_k"} <= set(listed)


def test_a_group_without_plugins_says_so() -> None:
    """Instead of an empty list."""
    with pytest.raises(PluginError) as caught:
        plugins.find("nimify.nothing", "x")
    assert caught.value.remedy == "Available: none."


@pytest.mark.parametrize(
    ("value", "module", "cause"),
    [
        ("acme_blur:Blur", "", "ModuleNotFoundError"),
        ("acme_blur:Blur", "import nothing_like_that\n", "ModuleNotFoundError"),
        ("acme_blur:Blur", "Blue = 1\n", "AttributeError"),
        ("acme_blur:Blur", "raise RuntimeError('line one\\nline two')\n", "RuntimeError: line one"),
        ("acme_blur:Blur", "class :\n", "SyntaxError"),
    ],
)
def test_a_broken_plugin_is_named_with_its_package(install: Install, value: str, module: str, cause: str) -> None:
    """One line: which plugin, of which package, why, and what to do."""
    install("acme-blur", {"blur": value}, module=module)
    plugin = plugins.find(plugins.PROCESSORS, "blur")
    try:
        with pytest.raises(PluginError, match="'blur' of acme-blur cannot be loaded") as caught:
            plugin.load()
    finally:
        sys.modules.pop("acme_blur", None)
    assert cause in caught.value.message
    assert caught.value.message.isprintable()
    assert "acme-blur" in caught.value.remedy


def test_every_group_that_is_declared_is_known() -> None:
    """An entry point in a group with a typing error would never be found."""
    declared = {entry.group for entry in distribution("nimify-anything").entry_points}
    known = {plugins.FORMATS, plugins.ENGINES, plugins.PROCESSORS, plugins.COLLECTORS, plugins.TARGETS}
    assert declared - {"console_scripts"} == known
