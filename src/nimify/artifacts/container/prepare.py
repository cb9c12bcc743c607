"""Lays out what goes into a layer of the image; runs in the stages of the build, and stays there.

    python3 prepare.py install REQUIREMENTS FOLDER   a hashed list of packages into a folder
    python3 prepare.py settle FOLDER                 files that were copied there

Settings of the package index come as build secrets (pip.conf, ca.pem), so that no layer holds them. What a layer holds
depends on its files alone: byte code that names no time, and everything as old as SOURCE_DATE_EPOCH says.
"""

import os
import subprocess
import sys
from pathlib import Path

SECRETS = Path("/run/secrets")
VARIABLES = {"PIP_CONFIG_FILE": SECRETS / "pip.conf", "PIP_CERT": SECRETS / "ca.pem"}


def install(requirements: Path, folder: Path) -> int:
    """Install packages; the status of what failed, or 0."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    environment.update({name: str(path) for name, path in VARIABLES.items() if path.is_file()})
    fetch = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-compile", "--no-deps"),
        *("--only-binary=:all:", "--require-hashes", "--root-user-action=ignore"),
        *("--target", str(folder), "--requirement", str(requirements)),
    ]
    # Checked by content, never by time: the service may not write byte code of its own.
    compiled = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(folder)]
    for command in (fetch, compiled):
        code = subprocess.run(command, cwd=requirements.parent, env=environment, check=False).returncode
        if code:
            return code
    return settle(Path("/out"))


def settle(folder: Path) -> int:
    """Let everything be as old as the next time, and readable by everybody; 0.

    What is right already is not touched: a file of an earlier step would be copied for it, and weights are large.
    """
    time_s = int(os.environ.get("SOURCE_DATE_EPOCH") or 0)
    for path in [*folder.rglob("*"), folder]:
        state = path.stat()
        mode = 0o755 if path.is_dir() or state.st_mode & 0o100 else 0o644
        if state.st_mode & 0o7777 != mode:
            path.chmod(mode)
        if state.st_mtime != time_s:
            os.utime(path, (time_s, time_s))
    return 0


if __name__ == "__main__":
    verb, *paths = sys.argv[1:]
    sys.exit(install(*map(Path, paths)) if verb == "install" else settle(*map(Path, paths)))
