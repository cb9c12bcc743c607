"""A key of a YAML file goes, and every other line stays as its owner wrote it."""

from __future__ import annotations

import pytest

from nimify.config import parse_yaml, without_key

BEFORE = "# Mine.\nname: digits  # really\n\n"
AFTER = "# Between.\nthreads: 2\n# The end.\n"


@pytest.mark.parametrize(
    "section",
    [
        "tuning:\n  objective: p99=20ms\n  threads:\n    value: 1\n    reason: 'long\n      text'\n",
        "tuning:\n  # inside\n  threads: {value: 1, reason: x}\n",
        "tuning: {threads: {value: 1, reason: x}}\n",
        "tuning:\n  - 1\n  - 2: 3\n",
        "tuning:\n  reason: |\n    several\n    lines\n  threads: 1\n",
        "tuning: {threads: {value: 1,\n  reason: x}}\n",
        "tuning:\n",
        "tuning: 3\n",
    ],
)
@pytest.mark.parametrize("after", ["", AFTER, "\n\n" + AFTER])
def test_a_section_goes_and_nothing_else(section: str, after: str) -> None:
    """Comments around it stay, wherever it stands and however it is written."""
    assert without_key(BEFORE + section + after, "tuning") == BEFORE + after
    assert without_key(section + after, "tuning") == after


@pytest.mark.parametrize("text", ["", "# Only words.\n", "- tuning\n", "other:\n  tuning: 1\n", "{tuning: 1}\n"])
def test_what_is_not_there_is_not_taken_away(text: str) -> None:
    """Nor is a key of the same name further down, or within braces."""
    assert without_key(text, "tuning") == text


def test_what_is_left_says_what_it_said() -> None:
    """The text is still YAML."""
    text = without_key(BEFORE + "tuning:\n  threads: {value: 1, reason: x}\n" + AFTER, "tuning")
    assert parse_yaml(text, source="x") == {"name": "digits", "threads": 2}
