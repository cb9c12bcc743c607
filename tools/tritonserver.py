"""Make a `tritonserver` command of the real server that the PyPI package nvidia-pytriton carries.

    python tools/tritonserver.py .tools/triton

The folder is a virtual environment with that package, made with an interpreter whose shared library the system has:
Triton's python backend runs models in a stub that links it. What this writes beside it:

    tritonserver         starts the server with its libraries, backends and caches
    backends/python/     the backend, with the stub of the environment's Python version
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

_LAUNCHER = """#!/bin/sh
# Written by tools/tritonserver.py.
export LD_LIBRARY_PATH={libraries}
exec {program} --backend-directory={backends} --cache-directory={caches} "$@"
"""


def main(environment: Path) -> int:
    """Write the command; the exit code."""
    environment = environment.resolve()
    packages = next(environment.glob("lib/python3.*/site-packages"), None)
    if packages is None or not (server := packages / "pytriton/tritonserver").is_dir():
        return _fail(f"{environment} has no nvidia-pytriton.", "Run: make .tools/triton/.ready")
    version = packages.parent.name.removeprefix("python")
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        return _fail(f"nvidia-pytriton has no stub for Python {version}.", "Choose an interpreter with TRITON_PYTHON.")
    libraries = packages / "nvidia_pytriton.libs"
    if missing := _missing_libraries(stub, libraries):
        return _fail(
            f"The stub needs {', '.join(missing)}, which this system does not have.",
            f"On Debian: apt-get install libpython{version}",
        )
    backend = environment / "backends/python"
    backend.mkdir(parents=True, exist_ok=True)
    for file in [*(server / "backends/python").iterdir(), stub]:
        if file.is_file():
            (backend / file.name).unlink(missing_ok=True)  # one that runs cannot be written to
            shutil.copy(file, backend)
    program = server / "bin/tritonserver"
    for executable in (program, backend / stub.name):
        executable.chmod(0o755)
    launcher = environment / "tritonserver"
    launcher.write_text(
        _LAUNCHER.format(
            libraries=shlex.quote(str(libraries)),
            program=shlex.quote(str(program)),
            backends=shlex.quote(str(backend.parent)),
            caches=shlex.quote(str(server / "caches")),
        ),
        encoding="utf-8",
    )
    launcher.chmod(0o755)
    return 0


def _missing_libraries(program: Path, libraries: Path) -> list[str]:
    listing = subprocess.run(
        ["/usr/bin/ldd", str(program)],
        capture_output=True,
        text=True,
        env={"LD_LIBRARY_PATH": str(libraries)},
        check=False,
    )
    return [line.split()[0] for line in listing.stdout.splitlines() if "not found" in line]


def _fail(what: str, remedy: str) -> int:
    sys.stderr.write(f"Error: {what}\n{remedy}\n")
    return 5


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
