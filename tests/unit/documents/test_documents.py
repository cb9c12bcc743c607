"""The project's documents: links lead somewhere, and code in them is code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from nimify.config import ModelConfig

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\b[^\n]*\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)


@each_page
def test_links_to_files_lead_to_files(page: Path) -> None:
    """Every relative link of a page names a file of the repository."""
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


@each_page
def test_python_in_a_page_is_python(page: Path) -> None:
    """Every Python block parses."""
    for block in blocks(page, "python"):
        ast.parse(block)


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "reference" not in page.relative_to(ROOT).parts],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_one_sentence_stands_on_one_line(page: Path) -> None:
    """Prose has one sentence a line, so that a change shows as what it is; tables and generated pages may hold more."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in prose.splitlines() if not line.startswith("|")]
    assert [line for line in lines if re.search(r"[a-z)`*\"][.!?]\*{0,2} [A-Z`]", line)] == []


def test_the_settings_of_the_configuration_page_are_settings() -> None:
    """The page's nimify.yaml is valid, and its table names every setting that there is and no other."""
    page = ROOT / "docs" / "guide" / "configuration.md"
    for block in blocks(page, "yaml"):
        ModelConfig.build(yaml.safe_load(block))
    schema = ModelConfig.model_json_schema()
    settings: set[str] = set()
    for name, field in schema["properties"].items():
        section = schema["$defs"].get(field.get("$ref", "").rpartition("/")[2], {})
        settings |= {f"{name}.{key}" for key in section.get("properties", {})} or {name}
    documented: set[str] = set()
    for cell in re.findall(r"^\| (`[^|]+`) \|", page.read_text(), flags=re.MULTILINE):
        names = re.findall(r"`([^`]+)`", cell)
        section = names[0].rpartition(".")[0]
        documented |= {section + name if name.startswith(".") else name for name in names}
    assert documented == settings


def test_every_exit_code_is_documented() -> None:
    """docs/guide/exit-codes.md has a row for the exit code of each error class."""
    import nimify.errors

    page = (ROOT / "docs" / "guide" / "exit-codes.md").read_text()
    classes = [item for item in vars(nimify.errors).values() if isinstance(item, type)]
    codes = {item.exit_code for item in classes if issubclass(item, nimify.errors.NimifyError)}
    assert codes <= set(map(int, re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE)))
