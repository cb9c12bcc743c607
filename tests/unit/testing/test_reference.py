"""The generated reference pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from nimify import cli, errors
from nimify.config import ModelConfig
from nimify.testing import reference

_PAGES = {"cli.md", "configuration.md", "metrics.md"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fresh pages."""
    folder = tmp_path_factory.mktemp("reference")
    assert reference.main([str(folder)]) == 0
    return folder


def test_every_command_is_on_the_page(pages: Path) -> None:
    """A new command cannot be forgotten."""
    text = (pages / "cli.md").read_text()

    assert {path.name for path in pages.iterdir()} == _PAGES
    assert [name for name in cli.COMMANDS if f"## nimify {name}\n" not in text] == []


def test_every_exit_code_has_one_row(pages: Path) -> None:
    """Those of errors included, and 1 is for every check that fails."""
    rows = [line for line in (pages / "cli.md").read_text().splitlines() if line.startswith("| ")]
    meanings = {row.split("|")[1].strip(): row for row in rows}

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.NimifyError)]
    codes = {str(kind.exit_code) for kind in kinds}
    assert codes <= meanings.keys()
    assert "create --check" in meanings["1"]


def test_every_setting_is_on_the_page(pages: Path) -> None:
    """Each setting has a row, and each limit says what it is, in the service's own words."""
    rows = [line for line in (pages / "configuration.md").read_text().splitlines() if line.startswith("| `")]

    names = {field.alias or name for name, field in ModelConfig.model_fields.items()}
    assert {row.split("`")[1].partition(".")[0] for row in rows} == names
    assert [row for row in rows if row.startswith("| `limits.") and row.endswith("|  |")] == []


def test_check_shows_what_differs_and_edits_nothing(pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` ends with 1 and a diff, and with 0 when all is current."""
    page = pages / "metrics.md"
    fresh = page.read_text()
    assert reference.main(["--check", str(pages)]) == 0

    page.write_text(fresh.replace("# Metrics", "# Old"))
    code = reference.main(["--check", str(pages)])

    assert code == 1
    assert "-# Old\n+# Metrics" in capsys.readouterr().out
    assert "# Old" in page.read_text()
    page.write_text(fresh)


def test_wrong_arguments_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a folder it says how it is called."""
    assert reference.main([]) == 2
    assert capsys.readouterr().err.startswith("Usage: ")
