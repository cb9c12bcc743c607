"""The last lines of what failed are shown before the error."""

from __future__ import annotations

import pytest

from nimify.commands.console import Console
from nimify.commands.evidence import evidence_shown
from nimify.errors import BuildFailed, ConfigError, NimifyError, NotDeployed, ProofFailed


@pytest.mark.parametrize("kind", [BuildFailed, ProofFailed, NotDeployed])
def test_they_are_told_and_the_error_goes_on(
    kind: type[BuildFailed | ProofFailed | NotDeployed], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each error that has some; control characters of a foreign log reach no terminal."""
    with pytest.raises(kind), evidence_shown(Console({}), heading="Its log:"):
        raise kind("It failed.", evidence=("first", "\x1b[31mlast"))

    heading, first, last = capsys.readouterr().err.splitlines()
    assert (heading, first) == ("Its log:", "  first")
    assert last.endswith("last")
    assert "\x1b" not in last


@pytest.mark.parametrize("error", [NotDeployed("Nothing was tried."), ConfigError("is wrong.", field="--set")])
def test_without_any_nothing_is_said(error: NimifyError, capsys: pytest.CaptureFixture[str]) -> None:
    """No heading stands alone."""
    with pytest.raises(NimifyError), evidence_shown(Console({}), heading="Its log:"):
        raise error

    assert capsys.readouterr().err == ""
