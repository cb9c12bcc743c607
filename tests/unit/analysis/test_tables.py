"""Tables of facts: every row parses and names its source, and a folder of the user's own wins."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest

from nimify.analysis.tables.hardware import load_gpus, load_instances
from nimify.analysis.tables.releases import (
    load_operators_without_cuda,
    load_runtime_releases,
    load_triton_releases,
)
from nimify.analysis.tables.source import version_key
from nimify.analysis.tables.tensorrt import load_tensorrt
from nimify.analysis.tensorrt_rules import KNOWN_CHECKS
from nimify.errors import ConfigError

FILES = {
    "gpus.json": load_gpus,
    "instances.json": load_instances,
    "onnxruntime_cuda.json": load_operators_without_cuda,
    "onnxruntime_opsets.json": load_runtime_releases,
    "tensorrt_operators.json": load_tensorrt,
    "triton_releases.json": load_triton_releases,
}


def packaged(name: str) -> dict[str, Any]:
    return dict(json.loads(files("nimify.analysis.tables").joinpath(name).read_text(encoding="utf-8")))


def rows(table: dict[str, Any]) -> list[dict[str, Any]]:
    lists = [value for value in table.values() if isinstance(value, list)]
    return [row for value in lists for row in value if isinstance(row, dict)]


def test_the_package_holds_these_tables_and_no_others() -> None:
    """A table without a loader would be a table without a test."""
    names = {entry.name for entry in files("nimify.analysis.tables").iterdir() if entry.name.endswith(".json")}

    assert names == set(FILES)


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_row_has_a_source(name: str) -> None:
    """A fact that nobody can check is no fact."""
    found = rows(packaged(name))

    assert found
    assert all(row["source"].strip() for row in found)


@pytest.mark.parametrize(("name", "load"), sorted(FILES.items()))
def test_every_row_parses(name: str, load: Callable[[], object]) -> None:
    """The packaged tables load."""
    assert load(), name


def test_tensorrt_has_two_hundred_operators() -> None:
    """As many as the parser's own table lists, each once, with rules that can be checked."""
    table = load_tensorrt()
    listed = packaged("tensorrt_operators.json")["operators"]

    assert len(listed) == len(table.operators) == 201
    assert all(row.types for row in table.operators.values() if row.supported)
    assert all(row.remedy for row in table.operators.values() if not row.supported)
    checks = {rule.check for row in table.operators.values() for rule in row.rules}
    assert checks == KNOWN_CHECKS


def test_tensorrt_types_are_known() -> None:
    """An operator's types are among those that a network may hold."""
    table = load_tensorrt()

    used = {kind for row in table.operators.values() for kind in row.types}
    assert used <= set(table.type_handling)
    assert "STRING" not in table.type_handling


@pytest.mark.parametrize(
    ("asked", "row"), [("11.2.1", "11.2"), ("11.x", "11.0"), ("10.16", "10.16"), ("99", "11.5"), ("8.6", "10.13")]
)
def test_a_version_of_tensorrt_has_the_row_before_it(asked: str, row: str) -> None:
    """Versions between two rows are like the older one."""
    assert load_tensorrt().of(asked).version == row


def schemas(operator: str) -> list[Any]:
    """Every version of a standard operator."""
    return [row for row in onnx.defs.get_all_schemas_with_history() if row.name == operator and not row.domain]


def test_tensorrt_rules_speak_of_inputs_and_attributes_that_exist() -> None:
    """A rule about an attribute with a typing error would never be broken; the standard knows all names."""
    for row in load_tensorrt().operators.values():
        versions = schemas(row.operator)
        attributes = {name for version in versions for name in version.attributes}
        inputs = max((version.max_input for version in versions), default=0)
        outputs = max((version.max_output for version in versions), default=0)
        for rule in row.rules:
            assert rule.facts.get("attribute", next(iter(attributes), None)) in {*attributes, None}, row.operator
            assert rule.facts.get("input", 0) <= inputs, row.operator
            assert rule.facts.get("output", 0) < outputs, row.operator


def test_defaults_of_tensorrt_rules_are_those_of_the_standard() -> None:
    """A node that leaves an attribute out means its default."""
    for row in load_tensorrt().operators.values():
        for rule in row.rules:
            if rule.check == "attribute_in" and rule.facts["default"] is not None:
                newest = onnx.defs.get_schema(row.operator).attributes[rule.facts["attribute"]]
                value = onnx.helper.get_attribute_value(newest.default_value) if newest.default_value.name else None
                standard = value.decode() if isinstance(value, bytes) else value
                assert standard in {rule.facts["default"], None}, (row.operator, rule.facts["attribute"])


def test_operators_without_a_cuda_kernel_are_operators() -> None:
    """A name with a typing error would never be met."""
    assert all(schemas(operator) for operator in load_operators_without_cuda())


def loads(opset: int, ir: int) -> bool:
    """Whether the ONNX Runtime of this environment loads a model of one node."""
    info = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", info[:1], info[1:])
    opsets = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=ir)
    try:
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - it raises classes of its own
        return False
    return True


def test_the_runtime_here_takes_what_its_row_says() -> None:
    """The row is a lower bound for a version that is not listed, and exact for one that is."""
    row = load_runtime_releases().of(ort.__version__)
    assert row is not None

    assert loads(row.opset_max, row.ir_max)
    assert loads(row.opset_min, 3)
    if row.version == ort.__version__:
        assert not loads(row.opset_max + 1, row.ir_max)
        assert not loads(row.opset_max, row.ir_max + 1)


def test_instances_name_gpus_of_the_table() -> None:
    """An instance whose GPU is not known could not be judged."""
    names = {gpu.name for gpu in load_gpus()}

    assert {instance.gpu for instance in load_instances()} <= names


def test_triton_releases_are_newest_first() -> None:
    """The planner takes the first that fits."""
    tags = [version_key(release.tag) for release in load_triton_releases().releases]

    assert tags == sorted(tags, reverse=True)


def test_an_unlisted_runtime_is_like_the_one_before_it() -> None:
    """ONNX Runtime keeps loading what it once loaded; before the first row nothing is known."""
    table = load_runtime_releases()

    between = table.of("1.25.1")
    assert between is not None
    assert between.version == "1.24.4"
    assert table.of("1.0.0") is None


@pytest.mark.parametrize(
    ("first", "second"), [("10.9", "10.14"), ("1.9.0", "1.10.0"), ("25.12", "26.01"), ("11.x", "11.2")]
)
def test_versions_compare_as_numbers(first: str, second: str) -> None:
    """10.14 comes after 10.9, whatever text comparison says."""
    assert version_key(first) < version_key(second)


def test_a_version_without_a_number_is_refused() -> None:
    """Nothing can be compared with it."""
    with pytest.raises(ValueError, match="not a version"):
        version_key("newest")


class TestOwnFolder:
    """`NIMIFY_TABLES` names a folder whose files replace the packaged ones."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("NIMIFY_TABLES", str(tmp_path))
        return tmp_path

    def test_a_file_of_ones_own_replaces_the_packaged_one(self, folder: Path) -> None:
        """A site has its own prices; what it does not replace stays."""
        table = packaged("instances.json")
        table["instances"] = [table["instances"][0] | {"usd_hour": 0.01, "source": "our contract"}]
        (folder / "instances.json").write_text(json.dumps(table))

        (instance,) = load_instances()
        assert (instance.usd_hour, instance.source) == (0.01, "our contract")
        assert len(load_gpus()) == 17

    @pytest.mark.parametrize(
        ("change", "cause"),
        [
            ({"source": ""}, "it names no source"),
            ({"compute_capability": "new"}, "not a version"),
            ({"usable_mib": None}, "NoneType"),
            ({"tflops": []}, "items"),
        ],
    )
    def test_a_wrong_row_is_named(self, folder: Path, change: dict[str, Any], cause: str) -> None:
        """The message says which row of which file, and why."""
        table = packaged("gpus.json")
        table["gpus"][2] |= change
        (folder / "gpus.json").write_text(json.dumps(table))

        with pytest.raises(ConfigError, match=rf"'gpus.json', gpus, row 3: .*{cause}"):
            load_gpus()

    def test_a_missing_field_is_named(self, folder: Path) -> None:
        """So that it can be added."""
        table = packaged("gpus.json")
        del table["gpus"][0]["bandwidth_gb_s"]
        (folder / "gpus.json").write_text(json.dumps(table))

        with pytest.raises(ConfigError, match="it lacks 'bandwidth_gb_s'"):
            load_gpus()

    @pytest.mark.parametrize(
        ("content", "cause"),
        [
            ("{", "it is not JSON"),
            ("[" * 100_000, "it is not JSON"),
            ("[]", "schema version 1"),
            ('{"schema_version": 2}', "schema version 1"),
            ('{"schema_version": 1}', "no rows under 'gpus'"),
            ('{"schema_version": 1, "gpus": []}', "no rows under 'gpus'"),
            ('{"schema_version": 1, "gpus": [7]}', "row 1"),
        ],
    )
    def test_what_is_no_table_is_refused(self, folder: Path, content: str, cause: str) -> None:
        """With one line, whatever the file holds."""
        (folder / "gpus.json").write_text(content)

        with pytest.raises(ConfigError, match=cause) as caught:
            load_gpus()
        assert "\n" not in str(caught.value)

    def test_a_folder_that_is_none_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A typing error must not silently mean the packaged tables."""
        monkeypatch.setenv("NIMIFY_TABLES", "no-such-folder")

        with pytest.raises(ConfigError, match="'no-such-folder' is not a folder"):
            load_gpus()
