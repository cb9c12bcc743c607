"""The real `tritonserver` for the tests, and bundles that it can load.

The binary that can be installed everywhere carries Triton's python backend only. So the line of config.pbtxt that
names the backend is exchanged, and the one that names the model's file, which belongs to it; everything else of the
model repository stays as it was generated.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
ENVIRONMENT: Final = ROOT / ".tools/triton"
PROGRAM: Final = ENVIRONMENT / "tritonserver"
_LINES: Final = {'backend: "onnxruntime"': 'backend: "python"', 'default_model_filename: "model.onnx"': None}

NOT_WITH_TRITON: Final = {
    "BF16": "Triton's python backend has no BF16 for numpy, so the stand-in cannot run it",
    "bf16": "the same",
    "test_requests_that_queue_run_together": "counts the runs of the embedded queue; see tests/triton/test_batching.py",
    "test_a_batch_has_no_more_rows_than_planned": "the same",
    "test_a_bad_request_in_a_batch_fails_alone": "the same",
    "test_a_request_that_waits_too_long": "the same",
    "test_a_request_that_runs_too_long": "the same",
    "test_a_client_that_leaves_takes_its_request": "the same",
    "test_metrics_count_what_happened": "counts runs at once; Triton's statistics are read twice a second",
    "test_json_logs_parse_and_cannot_be_forged": "waits for an error that the embedded engine logs",
    "test_a_starting_service": "its model is slow to warm up only in the embedded engine",
    "test_nims_variables_are_honoured": "asks for several workers, which Triton excludes",
    "test_connections_leave_nothing_behind": "connections to Triton are kept for the next requests",
    "test_a_load_that_fails_while_stopping": "makes a model file that cannot be copied",
}
"""Tests of the service's contract that are left out when Triton is the engine, each with its reason."""


class TritonStandIn:
    """How to serve a bundle with the real server.

    Attributes:
        environment: Variables that its processes need.
    """

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._made: dict[Path, Path] = {}
        self.environment = {"NIMIFY_TRITON_ENVIRONMENT": str(ENVIRONMENT)}

    @property
    def program(self) -> str:
        """The server; its absence is a failure, not a reason to skip."""
        if not PROGRAM.is_file():
            pytest.fail("There is no real tritonserver to test with; make one with: make .tools/triton/.ready")
        return str(PROGRAM)

    @property
    def options(self) -> tuple[str, ...]:
        """Options of `nimify serve`."""
        return ("--engine", "triton", "--triton-server", self.program)

    def bundle(self, bundle: Path) -> Path:
        """The bundle with its backend exchanged; made once."""
        if bundle not in self._made:
            self._made[bundle] = exchange_backend(bundle, self._folders.mktemp("exchanged"))
        return self._made[bundle]


def exchange_backend(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle in `folder` whose model Triton runs in its python backend."""
    copy = folder / "bundle"
    shutil.copytree(bundle, copy)
    (config,) = copy.glob("model_repository/*/config.pbtxt")
    lines = config.read_text().splitlines()
    missing = _LINES.keys() - set(lines)
    assert not missing, f"config.pbtxt has no line {missing}"
    exchanged = [_LINES.get(line, line) for line in lines]
    config.write_text("".join(f"{line}\n" for line in exchanged if line is not None))
    (version,) = copy.glob("model_repository/*/1")
    shutil.copy(Path(__file__).with_name("model.py"), version)
    return copy
