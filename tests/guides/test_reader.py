"""The reader sees a page that is not true, so that one that passes is."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.guides.conftest import OpenReader
from tests.guides.pages import Page
from tests.guides.reader import Mismatch


def page(tmp_path: Path, text: str) -> Page:
    path = tmp_path / "page.md"
    path.write_text(text.replace("'''", "```"))
    return Page.read(path)


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("$ false\n", "It ended with 1"),
        ("$ nimify no-such-command\n", "It ended with 2"),
        ("$ echo one\ntwo\n", "The page shows:\ntwo"),
        ("$ printf 'a\\nb\\n'\nb\na\n", "The page shows:\na"),
        ("$ echo fine\nError: it is not\n", "It ended with 0"),
        ("$ nimify serve nothing-there\n", "It ended"),
    ],
)
def test_a_page_that_is_not_true_is_seen(block: str, told: str, reader: OpenReader, tmp_path: Path) -> None:
    """Another exit status, another output, another order, a failure that does not happen, a service that ends."""
    with pytest.raises(Mismatch, match=told):
        reader().read(page(tmp_path, f"'''console\n{block}'''\n"))


def test_a_page_that_is_true_passes(reader: OpenReader, tmp_path: Path) -> None:
    """Files that it shows are there, folders are kept between commands, lines may be continued or left out."""
    text = """
'''yaml title=sub/a.yaml
a: 1
'''
'''yaml append=sub/a.yaml
b: 2
'''
'''console
$ cd sub
$ cat \\
    a.yaml
a: 1
…
$ printf 'took 1.5 s on\\n%s\\n' "$PWD"
took 7 s on
/home/me/sub
$ ls nothing-there; echo 'Error: gone' >&2; false
Error: gone
'''
'''console needs=something
$ false
'''
"""
    somebody = reader()
    somebody.read(page(tmp_path, text))
    assert len(somebody.typed) == 4
