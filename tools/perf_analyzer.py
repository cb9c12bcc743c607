"""Make a `perf_analyzer` command of Triton's load generator, which the PyPI package perf-analyzer carries.

    python tools/perf_analyzer.py .tools/perf-analyzer

The folder has the package in `package/`. Its program needs the C library 2.38; where the system's is older, as on
Debian 12, the libraries of the next Debian are laid beside it, by the system's own apt and from its own archive, and
the program is started with their loader. Nothing of the system is changed.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

_NEEDED = (2, 38)
_SUITE = "trixie"
_PACKAGES = ("libc6", "libgcc-s1", "libssl3t64", "libstdc++6", "zlib1g")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def main(folder: Path) -> int:
    """Write the command; the exit code."""
    folder = folder.resolve()
    program = folder / "package/perf_analyzer/bin/perf_analyzer"
    if not program.is_file():
        return _fail(f"{folder} has no perf-analyzer.", "Run: make .tools/perf-analyzer/.ready")
    program.chmod(0o755)
    name, version = platform.libc_ver()
    command = [str(program)]
    if name != "glibc" or tuple(map(int, version.split("."))) < _NEEDED:
        try:
            command = [*_loader(folder), *command]
        except (OSError, subprocess.CalledProcessError) as error:
            return _fail(f"The libraries that perf_analyzer needs cannot be had: {error}.", "They come from Debian.")
    launcher = folder / "perf_analyzer"
    launcher.write_text(f'#!/bin/sh\n# Written by tools/perf_analyzer.py.\nexec {shlex.join(command)} "$@"\n')
    launcher.chmod(0o755)
    return 0


def _loader(folder: Path) -> list[str]:
    """How a program is started with the libraries of the next Debian, which are fetched first."""
    root, downloads = folder / "root", folder / "debs"
    for path in ("lists/partial", "archives/partial"):
        (folder / "apt" / path).mkdir(parents=True, exist_ok=True)
    downloads.mkdir(exist_ok=True)
    sources = folder / "apt/sources.list"
    sources.write_text(f"deb [signed-by={_KEYRING}] {_archive()} {_SUITE} main\n")
    configuration = folder / "apt/apt.conf"
    configuration.write_text(
        f'Dir::State::lists "{folder}/apt/lists";\n'
        'Dir::State::status "/dev/null";\n'
        f'Dir::Cache "{folder}/apt";\n'
        f'Dir::Etc::sourcelist "{sources}";\n'
        'Dir::Etc::sourceparts "-";\n'
        'Acquire::Languages "none";\n'
        'APT::Sandbox::User "";\n'
    )
    environment = {**os.environ, "APT_CONFIG": str(configuration)}
    subprocess.run(["apt-get", "-qq", "update"], env=environment, check=True)
    subprocess.run(["apt-get", "-qq", "download", *_PACKAGES], env=environment, cwd=downloads, check=True)
    for package in downloads.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(root)], check=True)
    return [str(root / "usr/lib64/ld-linux-x86-64.so.2"), "--library-path", str(root / "usr/lib/x86_64-linux-gnu")]


def _archive() -> str:
    """Where the system has its own packages from."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"],
        capture_output=True,
        text=True,
        check=True,
    )
    for address in listed.stdout.split():
        if not address.rstrip("/").endswith("-security"):
            return address
    raise FileNotFoundError("the system's package lists are of no Debian; run apt-get update")


def _fail(what: str, remedy: str) -> int:
    sys.stderr.write(f"Error: {what}\n{remedy}\n")
    return 5


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
