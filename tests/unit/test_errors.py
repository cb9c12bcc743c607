"""Errors: one line, a remedy, an exit code, and no way to break out of the line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimify import errors
from nimify.errors import (
    BundleEdited,
    ConfigError,
    EnvironmentProblem,
    ModelError,
    NimifyError,
    PluginError,
    one_line,
    shortened,
)

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, NimifyError)]
ANY_TEXT = st.text(st.characters())  # lone surrogates included: names of files may hold them


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Every class stands there with its exit code, and nothing else does."""
    drawn = dict(re.findall(r"[├└]── (\w+) +(\d+)", errors.__doc__ or ""))
    assert drawn == {cls.__name__: str(cls.exit_code) for cls in CLASSES if cls is not NimifyError}


def test_every_error_is_documented() -> None:
    """By a sentence of its own."""
    assert len({cls.__doc__ for cls in CLASSES}) == len(CLASSES)


@given(ANY_TEXT)
def test_one_line_is_one_printable_line(text: str) -> None:
    """Printable text stays as it is; all else becomes visible."""
    line = one_line(text)
    assert line.isprintable()
    assert len(line.splitlines()) <= 1
    line.encode()
    if text.isprintable():
        assert line == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\r\nb", r"a\r\nb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\0", r"\x00"),
        ("\u202egnp.exe", r"\u202egnp.exe"),  # written from right to left
        ("a\u2028b", r"a\u2028b"),
        ("\udcff", r"\udcff"),
        ("é 数", "é 数"),
    ],
)
def test_control_characters_become_visible(text: str, line: str) -> None:
    """What a terminal or a log would act on."""
    assert one_line(text) == line


@given(ANY_TEXT, st.integers(1, 200))
def test_shortened_text_fits(text: str, limit: int) -> None:
    """Short text stays; long text ends in an ellipsis."""
    short = shortened(text, limit)
    assert len(short) <= limit
    assert (short == text) if len(text) <= limit else (short[:-1] == text[: limit - 1] and short[-1] == "…")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NimifyError("It broke."), "It broke."),
        (NimifyError("It broke.", remedy="Mend it."), "It broke. Mend it."),
        (ConfigError("is wrong.", field="name", remedy="Mend it."), "name: is wrong. Mend it."),
        (ConfigError("Wrong."), "Wrong."),
        (ModelError("m.onnx", "it is empty."), "Cannot use 'm.onnx': it is empty."),
        (EnvironmentProblem("No room."), "No room."),
        (PluginError("No plugin.", remedy="Install it."), "No plugin. Install it."),
    ],
)
def test_an_error_reads_as_a_sentence(error: NimifyError, text: str) -> None:
    """What happened, to what, and what to do next."""
    assert str(error) == text


def test_an_edited_bundle_names_its_files_and_both_ways_out() -> None:
    """Keep the changes, or overwrite them."""
    error = BundleEdited("b", ("config.pbtxt", "plan.json"))
    assert "config.pbtxt, plan.json" in error.message
    assert "nimify.yaml" in error.remedy
    assert "--force" in error.remedy
    assert error.paths == ("config.pbtxt", "plan.json")


@given(ANY_TEXT, ANY_TEXT)
def test_no_name_breaks_out_of_an_error(name: str, cause: str) -> None:
    """Whatever a model file calls itself."""
    assert str(ModelError(name, cause, remedy=cause)).isprintable()
    assert str(ConfigError(cause, field=name)).isprintable()


def test_a_cause_and_a_source_can_be_read_apart() -> None:
    """For JSON reports."""
    error = ModelError("m.onnx", "it is empty.")
    assert (error.source, error.cause, error.exit_code) == ("m.onnx", "it is empty.", 3)
