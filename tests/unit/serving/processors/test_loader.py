"""How steps become processors: by name, or from a file of the bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nimify.errors import ConfigError, PluginError
from nimify.serving.processors.loader import load_factory, load_steps
from nimify.serving.processors.softmax import Softmax
from nimify.serving.processors.top_k import TopK
from nimify.serving.spec import ProcessorStep

DOUBLE = """
from dataclasses import dataclass

@dataclass
class Double:
    times: int = 2
    note: str = ""
    file_options = ("note",)

    def outer(self, inner):
        return inner

    def __call__(self, tensors):
        return {name: array * self.times for name, array in tensors.items()}

def not_a_factory():
    return 3

def broken():
    return 1 / 0
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "own.py").write_text(DOUBLE)
    (bundle / "labels.txt").write_text("a\nb\n")
    (tmp_path / "secret.txt").write_text("a\nb\n")
    (tmp_path / "outside.py").write_text(DOUBLE)
    return bundle


def load(root: Path, use: str, **options: Any) -> Any:
    (processor,) = load_steps([ProcessorStep(use, options)], root)
    return processor


def test_built_in_processors_are_found_by_name(root: Path) -> None:
    """Steps keep their order."""
    steps = [ProcessorStep("softmax"), ProcessorStep("top_k", {"k": 2, "labels": "labels.txt"})]
    first, second = load_steps(steps, root)
    assert isinstance(first, Softmax)
    assert isinstance(second, TopK)


def test_no_steps_are_no_processors(root: Path) -> None:
    """An empty pipeline is the usual one."""
    assert load_steps([], root) == []


def test_an_owners_file_is_loaded_from_the_bundle(root: Path) -> None:
    """`file.py:name` names a class in a file under the root, dataclasses included."""
    assert load(root, "own.py:Double", times=3).times == 3


def test_loading_leaves_no_bytecode_behind(root: Path) -> None:
    """A served bundle is only read; nothing is written beside its files."""
    before = sorted(root.rglob("*"))
    load(root, "own.py:Double")
    assert sorted(root.rglob("*")) == before


def test_a_changed_file_is_loaded_afresh(root: Path) -> None:
    """No cached module or bytecode stands in for what the file says now."""
    load(root, "own.py:Double")
    (root / "own.py").write_text(DOUBLE.replace("times: int = 2", "times: int = 5"))
    assert load(root, "own.py:Double").times == 5


def test_file_options_become_absolute(root: Path) -> None:
    """What a factory lists in `file_options` arrives as a path under the root."""
    assert load(root, "own.py:Double", note="labels.txt").note == str((root / "labels.txt").resolve())


@pytest.mark.parametrize("path", ["../secret.txt", "sub/../../secret.txt"])
def test_files_outside_the_bundle_are_refused(root: Path, path: str) -> None:
    """Neither an option nor the code itself may come from elsewhere."""
    with pytest.raises(ConfigError, match="lies outside the bundle") as caught:
        load(root, "top_k", labels=path)
    assert caught.value.field == "top_k.labels"


def test_absolute_paths_and_links_outside_are_refused(root: Path, tmp_path: Path) -> None:
    """A link inside the bundle does not open a door out of it."""
    (root / "link.py").symlink_to(tmp_path / "outside.py")
    for use in ("../outside.py:Double", f"{tmp_path}/outside.py:Double", "link.py:Double"):
        with pytest.raises(ConfigError, match="lies outside the bundle"):
            load_factory(use, root)


def test_a_missing_file_is_named(root: Path) -> None:
    """The message has the name that was given."""
    with pytest.raises(ConfigError, match=r"there is no file 'none\.py'"):
        load_factory("none.py:Double", root)


def test_unknown_options_get_a_suggestion(root: Path) -> None:
    """The error names the step and the option, and lists what exists."""
    with pytest.raises(ConfigError, match=r"Did you mean 'labels'.*Known: k, labels") as caught:
        load(root, "top_k", lables="labels.txt")
    assert caught.value.field == "top_k.lables"


def test_missing_options_are_named(root: Path) -> None:
    """`scale` cannot work without its factor."""
    with pytest.raises(ConfigError, match="the option 'factor' must be given"):
        load(root, "scale")


def test_an_unknown_processor_lists_the_choices(root: Path) -> None:
    """A mistyped name gets the nearest one."""
    with pytest.raises(PluginError, match="Did you mean 'softmax'"):
        load(root, "sofmax")


def test_an_unknown_name_in_a_file_lists_what_it_has(root: Path) -> None:
    """Only what the file itself defines is listed."""
    with pytest.raises(PluginError, match=r"Did you mean 'Double'.*It has: Double, not_a_factory, broken"):
        load_factory("own.py:Doubel", root)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\nraise KeyError('why')\n", r"'bad.py' failed at bad.py:2 \(KeyError: 'why'\)"),
        ("def f(:\n", r"'bad.py' failed at bad.py:1 \(SyntaxError"),
        ("import no_such_module_anywhere\n", r"bad.py:1 \(ModuleNotFoundError"),
    ],
)
def test_a_file_that_fails_is_named_with_its_line(root: Path, code: str, message: str) -> None:
    """Errors of the owner's code say where to look, in one line."""
    (root / "bad.py").write_text(code)
    with pytest.raises(PluginError, match=message):
        load_factory("bad.py:Step", root)


def test_a_factory_that_fails_is_named_with_its_line(root: Path) -> None:
    """The line is the owner's, not ours."""
    line = DOUBLE[: DOUBLE.index("1 / 0")].count("\n") + 1
    with pytest.raises(PluginError, match=rf"failed at own.py:{line} \(ZeroDivisionError"):
        load(root, "own.py:broken")


def test_what_is_no_processor_is_refused(root: Path) -> None:
    """A factory must give something that can be called and maps the signature."""
    with pytest.raises(PluginError, match="made a int, which has no method __call__"):
        load(root, "own.py:not_a_factory")
    (root / "value.py").write_text("step = 3\n")
    with pytest.raises(PluginError, match="is a int, not a class or a function"):
        load(root, "value.py:step")
