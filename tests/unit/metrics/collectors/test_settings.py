"""From nimify.yaml to plan.json: what is asked for of collectors, and where their files go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nimify import Nimifier
from nimify.config import CollectorConfig, ModelConfig
from nimify.errors import ConfigError
from nimify.metrics.collectors.step import INTERVAL_S, CollectorStep
from nimify.serving.spec import ServiceSpec

OWN = """
from pathlib import Path

from nimify.metrics.collectors.collector import Metric, Sample

class Own:
    file_options = ("table",)

    def __init__(self, *, table):
        self.rows = Path(table).read_text().split()

    def describe(self):
        return [Metric("own_rows", "gauge", "Rows.")]

    def collect(self):
        yield Sample("own_rows", len(self.rows))
"""


def test_the_short_forms_are_those_of_processors() -> None:
    """A name, a name with its options, or everything written out."""
    written = {"use": "x.py:C", "options": {"a": 1}, "interval_s": 2}
    config = ModelConfig.build({"collectors": ["cgroup", {"x.py:B": {"a": 1}}, written]})
    assert config.collectors == (
        CollectorConfig(use="cgroup"),
        CollectorConfig(use="x.py:B", options={"a": 1}),
        CollectorConfig(use="x.py:C", options={"a": 1}, interval_s=2),
    )
    assert {step.interval_s for step in config.collectors[:2]} == {INTERVAL_S}


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    """Through the text of nimify.yaml."""
    config = ModelConfig.build({"collectors": ["cgroup", {"use": "x.py:C", "options": {"a": [1]}, "interval_s": 2}]})
    (tmp_path / "nimify.yaml").write_text(config.to_yaml())
    assert ModelConfig.load(tmp_path / "nimify.yaml") == config


@pytest.mark.parametrize(
    "collectors", ["cgroup", [3], [{"use": "a", "interval_s": 0.01}], [f"x.py:C{number}" for number in range(17)]]
)
def test_a_wrong_setting_is_refused_with_its_place(collectors: object) -> None:
    """Names `collectors`."""
    with pytest.raises(ConfigError) as caught:
        ModelConfig.build({"collectors": collectors})
    assert caught.value.field.startswith("collectors")


def test_files_are_copied_and_the_bundle_can_be_made_again(tmp_path: Path, make_bundle: Callable[..., Path]) -> None:
    """The owner's code and the files of its options lie in the bundle, and the plan names them there."""
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "table.txt").write_text("a b c")
    step = {"use": f"{tmp_path}/own.py:Own", "options": {"table": f"{tmp_path}/table.txt"}, "interval_s": 3}
    bundle = make_bundle("tiny", collectors=[step])
    planned = ServiceSpec.load(bundle).collectors
    assert planned == (CollectorStep("processors/own.py:Own", {"table": "processors/table.txt"}, 3),)
    (tmp_path / "own.py").unlink()
    before = (bundle / "plan.json").read_bytes()
    Nimifier().create(bundle, bundle)
    assert (bundle / "plan.json").read_bytes() == before
    assert (bundle / "processors" / "table.txt").read_text() == "a b c"
