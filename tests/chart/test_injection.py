"""Text in values is data: the schema refuses it, or it comes out of the templates exactly as it went in."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml

if TYPE_CHECKING:
    from tests.chart.conftest import Combination, Helm

pytestmark = pytest.mark.chart

HOSTILE = [
    "line\nevil: true",
    "windows\r\n---\nkind: Secret",
    "{{ .Values.model.digest }}",
    "{{ fail `no` }}",
    "$(id) `id` ${HOME}",
    "'; rm -rf / #",
    'quote " and \\ backslash',
    "&anchor value",
    "*alias",
    "!!python/object:os.system id",
    "- item",
    "# comment",
    "? key",
    "null",
    "yes",
    "0o17",
    "1e3",
    "nul\x00byte",
    "bidi\u202eabc",
    "line\u2028separator\u0085",
    "ключ 🔑",
    "UPPER Case",
    "  spaces  ",
    "registry/x\nRUN evil",
    "registry/x@sha256:0123",
    "a" * 254,
    "trailing-",
    "../../etc/passwd",
]
CONTROL = {"nul\x00byte", "bidi\u202eabc", "line\u2028separator\u0085"}
"""Characters that no annotation needs, and that readers of YAML disagree about."""
BENIGN = "benign"
Path = tuple[str | int, ...]
MADE_INTO_OTHERS = {("model", "version"), ("nameOverride",), ("fullnameOverride",)}
"""Text of a narrow grammar, which other text is made of: labels, tags, names with a suffix."""


def leaves(data: Any, path: Path = ()) -> Iterator[Path]:
    """Where text stands in the values."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        yield from leaves(value, (*path, key))
    # Names of variables must differ from each other.
    if isinstance(data, str) and path not in MADE_INTO_OTHERS and (path[0], path[-1]) != ("extraEnv", "name"):
        yield path


def with_text(values: Any, paths: list[Path], text: str) -> Any:
    """The values with other text in some places."""
    changed = copy.deepcopy(values)
    for path in paths:
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = text
    return changed


def replaced(data: Any, old: str, new: str) -> Any:
    """Rendered documents with one text in place of another."""
    if isinstance(data, dict):
        return {key: replaced(value, old, new) for key, value in data.items()}
    if isinstance(data, list):
        return [replaced(value, old, new) for value in data]
    return data.replace(old, new) if isinstance(data, str) else data


@pytest.fixture(scope="session")
def full_values(helm: Helm, all_combinations: list[Combination]) -> dict[str, Any]:
    """The chart's values with as much as possible switched on."""
    from tests.chart.conftest import IMAGE, merged

    values: dict[str, Any] = yaml.safe_load((helm.chart / "values.yaml").read_text())
    rich = next(row for row in all_combinations if "external" in row.name and "rich" in row.name)
    ingress = {"ingress": {"enabled": True, "hosts": ["a.example.com"], "annotations": {"example.com/a": "x"}}}
    accounts = {"serviceAccount": {"create": True, "annotations": {"example.com/a": "x"}}}
    service = {"service": {"annotations": {"example.com/a": "x"}}}
    for part in (IMAGE, rich.values, ingress, accounts, service):
        values = merged(values, part)
    return values


@pytest.fixture(scope="session")
def validator(helm: Helm) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads((helm.chart / "values.schema.json").read_text()))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_refused_or_stays_text(
    text: str, full_values: dict[str, Any], validator: jsonschema.Draft7Validator, helm: Helm
) -> None:
    """Wherever the schema lets it in, the documents differ from those of harmless text in that text only."""
    taken = [path for path in leaves(full_values) if validator.is_valid(with_text(full_values, [path], text))]
    free = [path for path in taken if validator.is_valid(with_text(full_values, [path], BENIGN))]

    expected = helm.render(with_text(full_values, free, BENIGN), kubernetes="1.37")
    rendered = helm.render(with_text(full_values, free, text), kubernetes="1.37")

    assert (("podAnnotations", "example.com/note") in free) == (text not in CONTROL)
    assert (("extraEnv", 0, "value") in free) == (text not in CONTROL)
    assert rendered == replaced(expected, BENIGN, text)


def test_helm_and_the_schema_library_of_the_tests_agree(
    full_values: dict[str, Any], validator: jsonschema.Draft7Validator, helm: Helm
) -> None:
    """What the tests call refused, Helm refuses too: one place of each kind, with a newline in it."""
    text = HOSTILE[0]
    refused = [path for path in leaves(full_values) if not validator.is_valid(with_text(full_values, [path], text))]

    assert len(refused) > 50
    for path in refused[::8]:
        done = helm.template(with_text(full_values, [path], text), kubernetes="1.37")
        assert done.returncode != 0, path
        assert "don't meet the specifications of the schema" in done.stderr


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.strip()])
def test_a_hostile_description_stays_one(text: str, helm: Helm, hostile_chart: Any) -> None:
    """What the owner says of the service reaches Chart.yaml as data, and Helm loads the chart."""
    chart = hostile_chart(text)
    done = helm.run("show", "chart", str(chart))

    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((chart / "Chart.yaml").read_text())["description"] == text
    assert helm.run("lint", "--strict", str(chart)).returncode == 0
