"""Installs the Go programs of a list into a folder; those that are there in their version are left alone.

python tools/install_go_tools.py .tools/bin [tools/go-tools.txt]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LIST: Final = Path(__file__).with_name("go-tools.txt")
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class GoTool:
    """A program that `go install` builds.

    Attributes:
        name: Of the program.
        package: Its package with the version, e.g. `helm.sh/helm/v4/cmd/helm@v4.2.4`.
        settings: Variables that its build needs, e.g. `GOEXPERIMENT=jsonv2`.
    """

    name: str
    package: str
    settings: tuple[str, ...] = ()

    def is_installed(self, folder: Path) -> bool:
        """Whether this very version is there."""
        note = self._note(folder)
        return (folder / self.name).is_file() and note.is_file() and note.read_text(encoding="utf-8") == self.package

    def install(self, folder: Path, *, go: str) -> None:
        """Build it with the Go command at `go`.

        Raises:
            CalledProcessError: It cannot be fetched or built.
        """
        environment = {
            **os.environ,
            "CGO_ENABLED": "0",
            # Takes the newer Go that a program asks for from where modules come from.
            "GOTOOLCHAIN": os.environ.get("GOTOOLCHAIN", "auto"),
            **dict(setting.split("=", 1) for setting in self.settings),
        }
        # Go calls a program as its folder is called, which need not be its name.
        with tempfile.TemporaryDirectory(dir=folder) as place:
            for left in reversed(range(_TRIES)):  # a download may break off; what came before it is kept
                done = subprocess.run(
                    [go, "install", "-trimpath", self.package], env={**environment, "GOBIN": place}, check=left == 0
                )
                if done.returncode == 0:
                    break
            (program,) = Path(place).iterdir()
            program.replace(folder / self.name)
        self._note(folder).write_text(self.package, encoding="utf-8")

    def _note(self, folder: Path) -> Path:
        return folder / f".{self.name}.version"


def read_tools(path: Path = LIST) -> Iterator[GoTool]:
    """The programs of a list."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, package, *settings = line.split()
            yield GoTool(name, package, tuple(settings))


def main(arguments: Sequence[str]) -> int:
    """Install what is missing.

    Returns:
        1 when Go is missing or a program cannot be built, 2 when the arguments are wrong, otherwise 0.
    """
    if len(arguments) not in {1, 2}:
        sys.stderr.write("Usage: python tools/install_go_tools.py DIR [LIST]\n")
        return 2
    folder, *lists = (Path(argument).absolute() for argument in arguments)
    missing = [tool for tool in read_tools(*lists) if not tool.is_installed(folder)]
    if not missing:
        return 0
    go = shutil.which("go")
    if go is None:
        sys.stderr.write(f"Go is missing; it builds {', '.join(tool.name for tool in missing)}.\n")
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    os.nice(19)  # a build takes minutes, and other work goes on
    for tool in missing:
        start_s = time.monotonic()
        sys.stderr.write(f"Building {tool.package} ...\n")
        try:
            tool.install(folder, go=go)
        except subprocess.CalledProcessError as error:
            sys.stderr.write(f"{tool.package} could not be built: go ended with {error.returncode}.\n")
            return 1
        sys.stderr.write(f"  done in {time.monotonic() - start_s:.0f} s\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
