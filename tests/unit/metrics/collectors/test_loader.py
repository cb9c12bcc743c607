"""How settings become collectors: by name, or from a file of the bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nimify.errors import ConfigError, PluginError
from nimify.metrics.collectors.cgroup import Cgroup
from nimify.metrics.collectors.loader import LoadedCollector, check_collectors, load_collector
from nimify.metrics.collectors.step import CollectorStep

OWN = """
from nimify.metrics.collectors.collector import Metric, Sample

class Own:
    file_options = ("note",)

    def __init__(self, *, note="", name="own_value"):
        self.note, self.name = note, name

    def describe(self):
        return [Metric(self.name, "gauge", "A value.")]

    def collect(self):
        yield Sample(self.name, 1)
        if self.note:
            raise ValueError("no good")

class Other(Own):
    pass

class Newer(Own):
    contract_version = 2

class Blind(Own):
    describe = None

class Broken(Own):
    def describe(self):
        return 1 / 0
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "note.txt").write_text("x")
    return tmp_path


def load(root: Path, use: str, **options: Any) -> LoadedCollector:
    return load_collector(use, options, root)


def test_the_built_in_collector_is_found_by_name(root: Path) -> None:
    """Through the same door as anybody else's."""
    loaded = load(root, "cgroup")
    assert isinstance(loaded.collector, Cgroup)
    assert loaded.name == "cgroup"
    assert "cgroup_memory_usage_bytes" in loaded.families


def test_an_owners_file_is_loaded_from_the_bundle(root: Path) -> None:
    """It is named after its class, and asked for its text."""
    loaded = load(root, "own.py:Own")
    assert loaded.name == "Own"
    assert loaded.text() == b"# HELP own_value A value.\n# TYPE own_value gauge\nown_value 1\n"


def test_an_error_names_file_and_line(root: Path) -> None:
    """Also when it comes from the middle of a generator, and of `describe`."""
    raising, dividing = (OWN[: OWN.index(code)].count("\n") + 1 for code in ("raise ValueError", "1 / 0"))
    loaded = load(root, "own.py:Own", note="note.txt")
    with pytest.raises(PluginError, match=rf"collector 'Own' failed at own.py:{raising} \(ValueError: no good\)"):
        loaded.text()
    with pytest.raises(PluginError, match=rf"collector 'Broken' failed at own.py:{dividing} \(ZeroDivision"):
        load(root, "own.py:Broken")


def test_file_options_become_absolute(root: Path) -> None:
    """What a factory lists in `file_options` arrives as a path under the root."""
    collector: Any = load(root, "own.py:Own", note="note.txt").collector
    assert collector.note == str((root / "note.txt").resolve())


@pytest.mark.parametrize(
    ("use", "options", "kind", "says"),
    [
        ("cgruop", {}, PluginError, "Did you mean 'cgroup'"),
        ("own.py:Onw", {}, PluginError, "Did you mean 'Own'"),
        ("none.py:Own", {}, ConfigError, "there is no file"),
        ("../own.py:Own", {}, ConfigError, "lies outside the bundle"),
        ("own.py:Own", {"noot": 1}, ConfigError, "Did you mean 'note'"),
        ("own.py:Own", {"name": "nv_mine"}, PluginError, "the service's own"),
        ("own.py:Newer", {}, PluginError, "version 2 of the contract; this is 1"),
        ("own.py:Blind", {}, PluginError, "has no method describe"),
    ],
)
def test_what_cannot_be_used_is_refused(
    root: Path, use: str, options: dict[str, Any], kind: type[Exception], says: str
) -> None:
    """Before anything is measured, with what to do."""
    with pytest.raises(kind, match=says):
        load(root, use, **options)


def test_two_collectors_must_not_have_one_metric(root: Path) -> None:
    """Prometheus would see a series twice; other names make it good."""
    steps = [CollectorStep("own.py:Own"), CollectorStep("own.py:Other")]
    with pytest.raises(PluginError, match="collectors 'Own' and 'Other' both have a metric 'own_value'"):
        check_collectors(steps, root)
    check_collectors([steps[0], CollectorStep("own.py:Other", {"name": "other_value"})], root)
