"""The installer of Go programs, with a `go` that stands in for the real one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tools.install_go_tools import main, read_tools

ROOT = Path(__file__).parents[3]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `go` notes its calls; it builds a program that is called as its package's folder is."""
    go, notes = tmp_path / "bin/go", tmp_path / "calls"
    go.parent.mkdir()
    go.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "package = sys.argv[-1].partition('@')[0]\n"
        f"open({str(notes)!r}, 'a').write(json.dumps([sys.argv[1:], os.environ.get('GOEXPERIMENT')]) + '\\n')\n"
        "open(os.path.join(os.environ['GOBIN'], package.rpartition('/')[2]), 'w').write(sys.argv[-1])\n"
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(go.parent))
    monkeypatch.delenv("GOEXPERIMENT", raising=False)
    monkeypatch.setattr("os.nice", lambda _: 0)
    return notes


def test_each_program_gets_its_name_and_what_its_build_needs(calls: Path, tmp_path: Path) -> None:
    """Whatever its folder is called; what is there already is not built again, a new version is."""
    listing, folder = tmp_path / "list.txt", tmp_path / "programs"
    listing.write_text("# a comment\none example.com/one/cmd@v1.0.0 GOEXPERIMENT=x\ntwo example.com/two@v2.0.0\n")

    assert main([str(folder), str(listing)]) == 0
    assert main([str(folder), str(listing)]) == 0
    listing.write_text("two example.com/two@v2.1.0\n")
    assert main([str(folder), str(listing)]) == 0

    assert [json.loads(line) for line in calls.read_text().splitlines()] == [
        [["install", "-trimpath", "example.com/one/cmd@v1.0.0"], "x"],
        [["install", "-trimpath", "example.com/two@v2.0.0"], None],
        [["install", "-trimpath", "example.com/two@v2.1.0"], None],
    ]
    assert (folder / "one").read_text() == "example.com/one/cmd@v1.0.0"
    assert (folder / "two").read_text() == "example.com/two@v2.1.0"
    assert {path.name for path in folder.iterdir()} == {"one", "two", ".one.version", ".two.version"}


@pytest.mark.parametrize("name", ["go-tools.txt", "go-scanners.txt"])
def test_every_program_is_pinned(name: str) -> None:
    """To a release, and no branch."""
    tools = list(read_tools(ROOT / "tools" / name))

    assert tools
    assert all(tool.package.rpartition("@")[2][:1] == "v" for tool in tools)
