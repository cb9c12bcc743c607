"""A container engine and a base image for `make test-container`, on a Debian machine where neither needs to be there.

    python tools/container_engine.py install            docker.io, buildah, podman and debootstrap, from Debian (root)
    python tools/container_engine.py base FILE.tar      a small Debian with Python, from the mirror that apt uses (root)

The engine itself is started and stopped by the tests (tests/container/conftest.py).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

PROGRAMS: Final = {
    "/usr/sbin/dockerd": "docker.io",
    "/usr/bin/buildah": "buildah",
    "/usr/bin/podman": "podman",
    "/usr/sbin/debootstrap": "debootstrap",
    "/usr/bin/docker-registry": "docker-registry",
}
"""What must be there, and the package that brings it."""
SUITE: Final = "bookworm"
PACKAGES: Final = ("python3", "python3-pip", "ca-certificates")
_APT: Final = ("apt-get", "--quiet", "--yes", "--no-install-recommends")
_LEFT_OVER: Final = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")


def install() -> int:
    """Install what is missing; the exit code."""
    missing = [package for program, package in PROGRAMS.items() if not Path(program).exists()]
    if not missing:
        return 0
    subprocess.run(["apt-get", "--quiet", "update"], check=True)
    # Debian's iptables and runc: dockerd wants the one, and every engine works with the other.
    return subprocess.run([*_APT, "install", *missing, "iptables", "runc"], check=False).returncode


def make_base(archive: Path) -> int:
    """Make the base image's files as a tar archive; the exit code."""
    if archive.exists():
        return 0
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nimify-base-", dir=archive.parent) as folder:
        root = Path(folder) / "root"
        bootstrap = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root), *mirror()]
        done = subprocess.run(bootstrap, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            sys.stderr.write(done.stdout.decode(errors="replace")[-2000:])
            return done.returncode
        for path in _LEFT_OVER:
            shutil.rmtree(root / path, ignore_errors=True)
        staged = Path(folder) / "base.tar"
        subprocess.run(["tar", "--directory", str(root), "--create", "--file", str(staged), "."], check=True)
        staged.replace(archive)
    return 0


def mirror() -> list[str]:
    """The mirror that apt uses on this machine; none when it names none, and debootstrap takes its own."""
    for path in sorted(Path("/etc/apt").glob("sources.list*")) + sorted(Path("/etc/apt/sources.list.d").glob("*")):
        if path.is_file() and (match := re.search(r"https?://\S+/debian/?(?=\s)", path.read_text(errors="replace"))):
            return [match[0]]
    return []


def main(arguments: Sequence[str]) -> int:
    """Do what is asked; the exit code."""
    verbs: dict[tuple[str, int], Callable[..., int]] = {("install", 0): install, ("base", 1): make_base}
    verb, *rest = arguments or ["?"]
    act = verbs.get((verb, len(rest)))
    if act is None:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    return act(*map(Path, rest))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
