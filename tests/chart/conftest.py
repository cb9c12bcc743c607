"""The real Helm over the chart of a real bundle.

Programs come from .tools/bin (`make tools`) or the PATH. Without Helm these tests are skipped, and say so; they fail
when NIMIFY_REQUIRE names `chart`, as in CI.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from nimify.artifacts.yaml_file import yaml_text

ROOT = Path(__file__).parents[2]
IMAGE = {"image": {"repository": "registry.example.com/team/digits"}}
Document = dict[str, Any]


def program(name: str) -> str:
    """The path of a program that the tests drive."""
    found = shutil.which(name, path=os.pathsep.join((str(ROOT / ".tools" / "bin"), os.environ.get("PATH", ""))))
    if found is None:
        message = f"{name} is not installed; make tools"
        if "chart" in os.environ.get("NIMIFY_REQUIRE", "").split(","):
            pytest.fail(message)
        pytest.skip(message)
    return found


@dataclass(frozen=True)
class Helm:
    """Helm and one chart.

    Attributes:
        path: The program.
        chart: Folder of the chart.
        scratch: Where values files go.
        rendered: What was rendered already, by what was asked for.
    """

    path: str
    chart: Path
    scratch: Path
    rendered: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`helm ...`, with nothing of this machine's own settings."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.scratch), "HELM_NO_PLUGINS": "1"}
        return subprocess.run(
            [self.path, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    def template(
        self, values: Mapping[str, Any], *, kubernetes: str = "1.36", release: str = "digits"
    ) -> subprocess.CompletedProcess[str]:
        """`helm template` with values over those of the chart."""
        place = ("--namespace", "ml", "--kube-version", f"{kubernetes}.0")
        return self.run("template", release, str(self.chart), *place, "-f", str(self.values_file(values)))

    def render(self, values: Mapping[str, Any], *, kubernetes: str = "1.36", release: str = "digits") -> list[Document]:
        """The documents that `helm template` prints; the test fails when it refuses."""
        key = json.dumps([values, kubernetes, release], sort_keys=True)
        if key not in self.rendered:
            done = self.template(values, kubernetes=kubernetes, release=release)
            assert done.returncode == 0, done.stderr
            self.rendered[key] = done.stdout
        return [document for document in yaml.load_all(self.rendered[key], yaml.CSafeLoader) if document]

    def values_file(self, values: Mapping[str, Any]) -> Path:
        """A values file that also names an image."""
        file = self.scratch / "values.yaml"
        file.write_text(yaml_text(merged(IMAGE, values)), encoding="utf-8")
        return file

    def copy(self, folder: Path) -> Helm:
        """The same with a copy of the chart, to change."""
        return Helm(self.path, Path(shutil.copytree(self.chart, folder / "chart")), folder)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Values over values, as Helm takes them together: mappings are merged, all else is replaced."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = merged(below, value) if both else value  # type: ignore[arg-type]  # both are mappings here
    return result


@pytest.fixture(scope="session")
def helm(make_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(program("helm"), make_bundle("digits") / "chart", tmp_path_factory.mktemp("helm"))


@dataclass(frozen=True)
class Combination:
    """One choice on every axis of features.yaml.

    Attributes:
        name: The names of the options that are not the first of their axis.
        values: All of them together.
        needs: The Kubernetes release that they ask for.
    """

    name: str
    values: dict[str, Any]
    needs: str


def combinations() -> list[Combination]:
    """A small set of combinations in which every two options of different axes meet."""
    axes: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "features.yaml").read_text())
    return [_combination(axes, row) for row in _pairwise({axis: list(options) for axis, options in axes.items()})]


def _combination(axes: Mapping[str, Mapping[str, Any]], row: Mapping[str, str]) -> Combination:
    values: dict[str, Any] = {}
    needs = "1.29"
    for axis, option in row.items():
        chosen = dict(axes[axis][option])
        needs = max(needs, chosen.pop("needs", needs))
        values = merged(values, chosen)
    named = [option for axis, option in row.items() if option != next(iter(axes[axis]))]
    return Combination("+".join(named) or "default", values, needs)


def _pairwise(axes: Mapping[str, list[str]]) -> Iterator[dict[str, str]]:
    """Rows that cover every pair, chosen greedily; the first row has the first option of each axis."""
    row = {axis: options[0] for axis, options in axes.items()}
    open_pairs = {
        frozenset(((one, a), (two, b)))
        for one, two in itertools.combinations(axes, 2)
        for a, b in itertools.product(axes[one], axes[two])
    }
    yield row
    open_pairs -= _pairs(row)
    while open_pairs:
        row = _completed(dict(min(sorted(pair) for pair in open_pairs)), axes, open_pairs)
        yield row
        open_pairs -= _pairs(row)


def _completed(
    row: Mapping[str, str], axes: Mapping[str, list[str]], open_pairs: set[frozenset[tuple[str, str]]]
) -> dict[str, str]:
    """A row that is begun, with the options that cover the most of what is open on its other axes."""
    chosen = dict(row)
    for axis in axes:
        if axis not in chosen:
            gains = {option: len(open_pairs & _pairs({**chosen, axis: option})) for option in axes[axis]}
            chosen[axis] = max(gains, key=lambda option: gains[option])
    return {axis: chosen[axis] for axis in axes}


def _pairs(row: Mapping[str, str]) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `combination` runs once for each of them."""
    if "combination" in metafunc.fixturenames:
        rows = combinations()
        metafunc.parametrize("combination", rows, ids=[row.name for row in rows])


@pytest.fixture(scope="session")
def kube_score() -> str:
    return program("kube-score")


@pytest.fixture(scope="session")
def all_combinations() -> list[Combination]:
    return combinations()


@pytest.fixture
def hostile_chart(helm: Helm, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the chart, with Chart.yaml written for another description."""

    def write(description: str) -> Path:
        chart = helm.copy(tmp_path).chart
        data = yaml.safe_load((chart / "Chart.yaml").read_text())
        (chart / "Chart.yaml").write_text(yaml_text({**data, "description": description}))
        return chart

    return write
