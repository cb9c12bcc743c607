"""`with`: files for further targets, asked for by name, once and for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nimify import ModelConfig, Nimifier
from nimify.artifacts.settings import SETTINGS_FILE, settings_schema
from nimify.cli import main
from nimify.errors import ConfigError
from nimify.testing import models


def build(value: Any) -> ModelConfig:
    return ModelConfig.build({"with": value})


def test_names_are_kept_in_one_order_and_once() -> None:
    """So that the same wish gives the same bytes."""
    assert build(["kserve", "compose", "kserve"]).extras == ("compose", "kserve")
    assert build(["kserve"]).to_yaml() == "with:\n- kserve\n"
    assert build(None).extras == ()


@pytest.mark.parametrize("value", [["k-serve"], ["kserve", ""], [1], [{}], [None]])
def test_an_unknown_name_is_refused_with_those_that_are_known(value: Any) -> None:
    """Whatever it is."""
    with pytest.raises(ConfigError, match="must name some of compose, nim-operator, kserve, not "):
        build(value)


@pytest.mark.parametrize("value", ["kserve", {"kserve": True}, 3])
def test_anything_but_a_list_is_refused(value: Any) -> None:
    """In words of YAML."""
    with pytest.raises(ConfigError, match="with: must be a list"):
        build(value)


def test_the_setting_has_one_name() -> None:
    """The name that the field has in Python is none in nimify.yaml; a slip of the pen is understood."""
    with pytest.raises(ConfigError, match="extras: there is no such setting"):
        ModelConfig.build({"extras": ["kserve"]})
    with pytest.raises(ConfigError, match="Did you mean 'with'"):
        ModelConfig.build({"whit": ["kserve"]})
    assert "with" in settings_schema()["properties"]


def test_what_was_asked_for_stays_asked_for(tmp_path: Path) -> None:
    """The option ends up in nimify.yaml, and a bundle made again from itself is the same."""
    model = models.save(models.tiny(), tmp_path / "tiny.onnx")
    bundle = tmp_path / "bundle"
    assert main(["create", str(model), "-o", str(bundle), "--with", "kserve, compose", "-q"]) == 0
    assert ModelConfig.load(bundle / SETTINGS_FILE).extras == ("compose", "kserve")
    assert (bundle / "inferenceservice.yaml").is_file()
    assert not Nimifier().draft(bundle).check()


def test_an_owner_who_asks_for_less_gets_less(tmp_path: Path) -> None:
    """What is no longer asked for is removed; what the owner wrote is not overruled in silence."""
    model = models.save(models.tiny(), tmp_path / "tiny.onnx")
    bundle = tmp_path / "bundle"
    Nimifier(build(["compose", "kserve"])).create(model, bundle)
    settings = bundle / SETTINGS_FILE
    settings.write_text(settings.read_text().replace("- kserve\n", ""))
    Nimifier().create(bundle)
    assert (bundle / "compose.yaml").is_file()
    assert not (bundle / "inferenceservice.yaml").exists()
    with pytest.raises(ConfigError, match="with: "):
        Nimifier(build(["kserve"])).create(model, bundle)


def test_a_setting_is_added_below_the_owners_own_words(tmp_path: Path) -> None:
    """The comments of nimify.yaml survive."""
    model = models.save(models.tiny(), tmp_path / "tiny.onnx")
    bundle = tmp_path / "bundle"
    Nimifier().create(model, bundle)
    settings = bundle / SETTINGS_FILE
    settings.write_text("# mine\nthreads: 1\n")
    Nimifier(build(["compose"])).create(bundle)
    assert settings.read_text().startswith("# mine\nthreads: 1\n")
    assert ModelConfig.load(settings).extras == ("compose",)
