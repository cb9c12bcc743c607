"""Releases of Triton and of ONNX Runtime, and what each of them takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from nimify.analysis.tables.source import Row, build_rows, read_rows, read_table, version_key

TRITON_FILE: Final = "triton_releases.json"
ONNXRUNTIME_FILE: Final = "onnxruntime_opsets.json"
CUDA_FILE: Final = "onnxruntime_cuda.json"


@dataclass(frozen=True, slots=True)
class TritonRelease:
    """One release of the Triton image.

    Attributes:
        tag: Year and month, e.g. `26.08`.
        server: Version of the server.
        cuda: Version of CUDA in it; `None` where unknown.
        driver: Driver that this CUDA asks for; `None` where unknown.
        tensorrt: Version of TensorRT in it, perhaps only its beginning (`11.x`).
        onnxruntime: Version of ONNX Runtime in it; `None` where unknown.
        trust: `source`, `documented` or `recalled`.
        note: What else to know; may be empty.
        source: Where the row is from.
    """

    tag: str
    server: str
    cuda: str | None
    driver: str | None
    tensorrt: str | None
    onnxruntime: str | None
    trust: str
    note: str
    source: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TritonTable:
    """Every known release of Triton, newest first, and the oldest GPU that they run on."""

    releases: tuple[TritonRelease, ...]
    min_compute_capability: str


@dataclass(frozen=True, slots=True)
class RuntimeRelease:
    """One release of ONNX Runtime.

    Attributes:
        version: e.g. `1.27.0`.
        opset_min: Oldest standard operator set that it promises to run.
        opset_max: Newest standard operator set that it loads.
        ml_opset_max: The same for `ai.onnx.ml`.
        ir_max: Newest IR version that it loads.
        trust: `measured` when models were loaded to find out.
        source: Where the row is from.
    """

    version: str
    opset_min: int
    opset_max: int
    ml_opset_max: int
    ir_max: int
    trust: str
    source: str


@dataclass(frozen=True, slots=True)
class RuntimeTable:
    """Releases of ONNX Runtime, oldest first.

    Attributes:
        releases: The rows.
        extra_operators: Operators that it has in the standard domain although the standard does not define them, or
            does so only in a newer set.
    """

    releases: tuple[RuntimeRelease, ...]
    extra_operators: frozenset[str]

    def of(self, version: str) -> RuntimeRelease | None:
        """What is known of a version: its own row, or that of the newest release before it.

        ONNX Runtime keeps loading what it once loaded, so an older row is a lower bound.
        """
        wanted = version_key(version)
        rows = [row for row in self.releases if version_key(row.version) <= wanted]
        return max(rows, key=lambda row: version_key(row.version), default=None)


def load_triton_releases() -> TritonTable:
    """The table of Triton releases, newest first.

    Raises:
        ConfigError: The user's own table is not usable.
    """
    table = read_table(TRITON_FILE)
    rows = build_rows(TRITON_FILE, table, "releases", _triton_release)
    newest_first = sorted(rows, key=lambda row: version_key(row.tag), reverse=True)
    return TritonTable(tuple(newest_first), str(table.get("min_compute_capability", "7.5")))


def load_runtime_releases() -> RuntimeTable:
    """The table of ONNX Runtime releases, oldest first.

    Raises:
        ConfigError: The user's own table is not usable.
    """
    table = read_table(ONNXRUNTIME_FILE)
    rows = build_rows(ONNXRUNTIME_FILE, table, "releases", _runtime_release)
    extra = frozenset(map(str, table.get("extra_operators", ())))
    return RuntimeTable(tuple(sorted(rows, key=lambda row: version_key(row.version))), extra)


def load_operators_without_cuda() -> frozenset[str]:
    """Standard operators that ONNX Runtime runs on the CPU even where there is a GPU.

    Raises:
        ConfigError: The user's own table is not usable.
    """
    return frozenset(read_rows(CUDA_FILE, "operators", lambda row: str(row["operator"])))


def _triton_release(row: Row) -> TritonRelease:
    version_key(row["tag"])
    return TritonRelease(
        tag=str(row["tag"]),
        server=str(row["server"]),
        cuda=_optional_version(row["cuda"]),
        driver=_optional_version(row["driver"]),
        tensorrt=_optional_version(row["tensorrt"]),
        onnxruntime=_optional_version(row["onnxruntime"]),
        trust=str(row["trust"]),
        note=str(row["note"]),
        source=str(row["source"]),
    )


def _runtime_release(row: Row) -> RuntimeRelease:
    version_key(row["version"])
    return RuntimeRelease(
        version=str(row["version"]),
        opset_min=int(row["opset_min"]),
        opset_max=int(row["opset_max"]),
        ml_opset_max=int(row["ml_opset_max"]),
        ir_max=int(row["ir_max"]),
        trust=str(row["trust"]),
        source=str(row["source"]),
    )


def _optional_version(value: Any) -> str | None:
    if value is None:
        return None
    version_key(value)
    return str(value)
