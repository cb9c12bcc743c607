"""What a service asks to be signed is what the build side puts into a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from nimify.errors import ConfigError
from nimify.images.record import RECORD_FILE
from nimify.planning.assets import PROCESSORS_FOLDER
from nimify.planning.repository import REPOSITORY
from nimify.serving.settings import ServiceSettings
from nimify.serving.signed import COVERAGE


def test_the_signed_places_are_those_that_planning_names() -> None:
    """The service must not import planning, so it names the folders itself; they must stay the same."""
    assert set(COVERAGE.trees) == {REPOSITORY, PROCESSORS_FOLDER}
    assert RECORD_FILE in COVERAGE.later


def test_the_key_comes_from_an_option_or_the_environment() -> None:
    """The option wins."""
    environment = {"NIMIFY_VERIFY_KEY": "/keys/signing.pub"}

    assert ServiceSettings.from_environment(environment).verify_key == Path("/keys/signing.pub")
    assert ServiceSettings.from_environment(environment, verify_key=Path("x")).verify_key == Path("x")


def test_a_signature_without_digests_is_refused() -> None:
    """The signature covers the digests; without comparing these it would cover nothing."""
    with pytest.raises(ConfigError, match="--no-verify"):
        ServiceSettings(verify=False, verify_key=Path("signing.pub"))
