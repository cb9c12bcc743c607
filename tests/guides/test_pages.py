"""No command of a guide escapes the tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click
import pytest
from tests.guides.pages import GUIDES, SHELLS, Page, guides, never_run

from nimify.cli import nimify

SUITES: Final = {
    "": "tests/guides",
    "cloud-run": "tests/guides",
    "vertex": "tests/guides",
    "sagemaker": "tests/guides",
    "azureml": "tests/guides",
    "kserve": "tests/guides",
    "nim-operator": "tests/guides",
    "grpcurl": "tests/chart",
    "helm": "tests/chart",
    "docker": "tests/container",
    "cluster": "tests/cluster",
    "prometheus": "tests/monitoring",
    "perf_analyzer": "tests/triton",
    "model_signing": "tests/supply_chain",
}
"""What a block may need, and the folder whose tests have it."""
each_guide = pytest.mark.parametrize("page", guides(), ids=lambda page: page.name)


@each_guide
def test_every_command_stands_where_a_suite_finds_it(page: Page) -> None:
    """Commands stand in `console` blocks with a prompt, and what they need is something that a suite has."""
    for block in page.blocks:
        assert block.language not in SHELLS - {"console"}, f"{page.name}:{block.line}: write it as a console block"
        assert block.language, f"{page.name}:{block.line}: say what this block is"
        assert block.needs in SUITES, f"{page.name}:{block.line}: no suite has '{block.needs}'"
        if block.language in {"console", "python"}:
            continue
        typed = re.search(r"^\s*(\$ |(nimify|docker|helm|kubectl|curl|pip|make) )", block.body, re.MULTILINE)
        assert typed is None, f"{page.name}:{block.line}: a command in a block that nobody runs"


@pytest.mark.parametrize("folder", sorted(set(SUITES.values())))
def test_each_suite_reads_what_it_is_named_for(folder: str) -> None:
    """The tests of a folder ask for the guides with each need that is theirs."""
    files = [path for path in (GUIDES.parents[1] / folder).glob("*.py") if path != Path(__file__)]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    wanted = {need for need, where in SUITES.items() if where == folder and need}
    assert {need for need in wanted if f'"{need}"' not in text} == set()


def test_the_list_of_commands_that_are_not_run_is_true() -> None:
    """Each of them stands on its page, so that the list does not outlive a command."""
    there = {(page.name, command.text) for page in guides() for block in page.blocks for command in block.commands}
    assert never_run() - there == set()


@each_guide
def test_commands_within_sentences_exist(page: Page) -> None:
    """A `nimify ...` in a sentence or a table names a command that there is, and options that it has."""
    prose = re.sub(r"^```.*?^```$", "", page.path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for text in re.findall(r"(?<!`)`nimify ([a-z][^`]*)`", prose):
        words = text.split()
        command = nimify.get_command(click.Context(nimify), words[0])
        assert command is not None, f"{page.name}: nimify {text}"
        known = {name for option in command.params if isinstance(option, click.Option) for name in option.opts}
        unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - known - {"--help"}
        assert not unknown, f"{page.name}: nimify {text}: {unknown}"
