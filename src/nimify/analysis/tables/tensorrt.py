"""What TensorRT's ONNX parser takes: operators, element types and operator sets by version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nimify.analysis.tables.source import Row, build_rows, read_table, version_key

TENSORRT_FILE: Final = "tensorrt_operators.json"


@dataclass(frozen=True, slots=True)
class Rule:
    """A restriction of an operator that can be checked.

    Attributes:
        check: Name of the check, e.g. `constant_input`.
        reason: What is restricted, to follow the operator's name and a colon.
        remedy: What to do about it.
        until: Version that lifted the restriction; `None` while it holds.
        facts: What the check needs: positions, attribute names, allowed values.
    """

    check: str
    reason: str
    remedy: str
    until: str | None
    facts: Mapping[str, Any]

    def holds_in(self, version: str) -> bool:
        """Whether a version has the restriction."""
        return self.until is None or version_key(version) < version_key(self.until)


@dataclass(frozen=True, slots=True)
class OperatorSupport:
    """One operator.

    Attributes:
        operator: Its name.
        supported: Whether any listed version takes it.
        since: First version that takes it; `None` when all listed ones do.
        types: Element types that it takes, by the names of `TensorProto.DataType`.
        typed_inputs: Positions of the inputs that `types` speaks of.
        typed_outputs: Positions of such outputs.
        rules: Restrictions.
        remedy: What to do when it is not supported.
        source: Where the row is from.
    """

    operator: str
    supported: bool
    since: str | None
    types: frozenset[str]
    typed_inputs: tuple[int, ...]
    typed_outputs: tuple[int, ...]
    rules: tuple[Rule, ...]
    remedy: str
    source: str


@dataclass(frozen=True, slots=True)
class TensorRTVersion:
    """One version of TensorRT.

    Attributes:
        version: e.g. `11.1`.
        opset_min: Oldest standard operator set that its parser takes.
        opset_max: Newest one.
        strongly_typed: Whether precision comes from the graph alone.
        trust: `documented`, `inferred` (from an operator that it added) or `assumed`.
        source: Where the row is from.
    """

    version: str
    opset_min: int
    opset_max: int
    strongly_typed: bool
    trust: str
    source: str


@dataclass(frozen=True, slots=True)
class TensorRTTable:
    """Everything that is known of the parser.

    Attributes:
        operators: By name.
        versions: Oldest first.
        type_handling: What becomes of tensors of an element type: `native`, `cast to FLOAT`, `quantised`, or
            `input or output only`. Types that are not listed are not taken.
        custom_operators: Operators of TensorRT's own that the parser takes.
    """

    operators: Mapping[str, OperatorSupport]
    versions: tuple[TensorRTVersion, ...]
    type_handling: Mapping[str, str]
    custom_operators: frozenset[str]

    def of(self, version: str) -> TensorRTVersion:
        """The newest listed version that is not newer than the one asked for, else the oldest one."""
        wanted = version_key(version)
        known = [row for row in self.versions if version_key(row.version) <= wanted]
        return known[-1] if known else self.versions[0]


def load_tensorrt() -> TensorRTTable:
    """The table of TensorRT's parser.

    Raises:
        ConfigError: The user's own table is not usable.
    """
    table = read_table(TENSORRT_FILE)
    operators = build_rows(TENSORRT_FILE, table, "operators", _operator)
    versions = build_rows(TENSORRT_FILE, table, "versions", _version)
    types = build_rows(TENSORRT_FILE, table, "types", lambda row: (str(row["type"]), str(row["handling"])))
    return TensorRTTable(
        operators={row.operator: row for row in operators},
        versions=tuple(sorted(versions, key=lambda row: version_key(row.version))),
        type_handling=dict(types),
        custom_operators=frozenset(map(str, table.get("custom_operators", ()))),
    )


def _operator(row: Row) -> OperatorSupport:
    typed = row.get("typed", {})
    since = row.get("since")
    if since is not None:
        version_key(since)
    return OperatorSupport(
        operator=str(row["operator"]),
        supported=bool(row["supported"]),
        since=since,
        types=frozenset(map(str, row["types"])),
        typed_inputs=tuple(map(int, typed.get("inputs", (0,)))),
        typed_outputs=tuple(map(int, typed.get("outputs", ()))),
        rules=tuple(_rule(rule) for rule in row.get("rules", ())),
        remedy=str(row.get("remedy", "")),
        source=str(row["source"]),
    )


def _rule(row: Row) -> Rule:
    until = row.get("until")
    if until is not None:
        version_key(until)
    named = {"check", "reason", "remedy", "until"}
    return Rule(
        check=str(row["check"]),
        reason=str(row["reason"]),
        remedy=str(row["remedy"]),
        until=until,
        facts={key: value for key, value in row.items() if key not in named},
    )


def _version(row: Row) -> TensorRTVersion:
    version_key(row["version"])
    return TensorRTVersion(
        version=str(row["version"]),
        opset_min=int(row["opset_min"]),
        opset_max=int(row["opset_max"]),
        strongly_typed=bool(row["strongly_typed"]),
        trust=str(row["trust"]),
        source=str(row["source"]),
    )
