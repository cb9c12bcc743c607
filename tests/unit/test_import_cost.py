"""What is loaded, and when: the command answers at once, and importing the library costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nimify.cli import COMMANDS

_HEAVY = (
    "numpy",
    "onnx",
    "onnxruntime",
    "pydantic",
    "yaml",
    "google.protobuf",
    "orjson",
    "uvloop",
    "httptools",
    "openapi_spec_validator",
    "asyncio",
    "importlib.metadata",
)


def _modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nimport json\nsys.__stdout__.write('\\n' + json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout.rpartition("\n")[2]))


def _heavy(modules: set[str]) -> list[str]:
    return [name for name in _HEAVY if name in modules]


def test_help_loads_the_front_only() -> None:
    """`nimify --help` imports the command's front and no command."""
    modules = _modules_after("from nimify.cli import main\nmain(['--help'])")

    assert {name for name in modules if name.split(".")[0] == "nimify"} == {
        "nimify",
        "nimify.cli",
        "nimify.commands",
        "nimify.commands.console",
        "nimify.commands.failures",
        "nimify.errors",
        "nimify.version",
    }
    assert _heavy(modules) == []


def test_import_nimify_loads_itself_only() -> None:
    """`import nimify` loads the package and its version."""
    modules = _modules_after("import nimify")

    assert {name for name in modules if name.split(".")[0] in {"nimify", "click"}} == {"nimify", "nimify.version"}
    assert _heavy(modules) == []


def test_import_core_loads_itself_only() -> None:
    """`import nimify.core` loads no stage."""
    modules = _modules_after("import nimify.core")

    assert {name for name in modules if name.split(".")[0] == "nimify"} == {
        "nimify",
        "nimify.core",
        "nimify.version",
    }
    assert _heavy(modules) == []


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_of_a_command_loads_no_stage(command: str) -> None:
    """The options of a command are shown without the libraries that carry it out."""
    modules = _modules_after(f"from nimify.cli import main\nmain(['{command}', '--help'])")

    assert _heavy(modules) == []


def test_serve_loads_nothing_of_the_build_side() -> None:
    """Serving a bundle imports neither the model reader nor the settings' libraries."""
    code = "from nimify.commands import serve\nfrom nimify.serving import service, worker, supervisor"

    modules = _modules_after(code)

    build_side = {"onnx", "pydantic", "yaml", "google.protobuf", "openapi_spec_validator", "nimify.config"}
    assert build_side & modules == set()
