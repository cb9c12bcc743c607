"""Whether answers are remembered: only when that is asked for, and never those of a model that draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from nimify.analysis.analysis import Analysis
from nimify.artifacts.triton import parse_config, triton_artifact
from nimify.config import ModelConfig
from nimify.errors import ConfigError
from nimify.planning.plan import Basis
from nimify.planning.planner import plan

Analyse = Callable[[str], Analysis]

MIB = 1 << 20
ASKED = ModelConfig.build({"response_cache": {"size": "256Mi"}})


def test_nothing_is_remembered_unasked(analyse: Analyse) -> None:
    """Off is the default, and the plan says that it could be."""
    made = plan(analyse("tiny"), ModelConfig())
    assert made.value("response_cache.size") == made.service.response_cache_bytes == 0
    assert made.service.repeatable
    assert not parse_config(triton_artifact(made).content).response_cache.enable


def test_what_was_asked_for_reaches_the_service_and_triton(analyse: Analyse) -> None:
    """The size is the service's, and config.pbtxt lets Triton remember."""
    made = plan(analyse("tiny"), ASKED)
    (decision,) = [one for one in made.decisions if one.key == "response_cache.size"]
    assert (decision.value, decision.basis) == (256 * MIB, Basis.ASKED)
    assert made.service.response_cache_bytes == 256 * MIB
    assert parse_config(triton_artifact(made).content).response_cache.enable


def test_the_memory_of_a_replica_has_room_for_it(analyse: Analyse) -> None:
    """What is reserved grows by it, and the reason says so; a limit that was asked for has to hold it, too."""
    without, with_cache = (plan(analyse("tiny"), config) for config in (ModelConfig(), ASKED))
    assert with_cache.value("resources.memory") - without.value("resources.memory") == 256 * MIB
    (memory,) = [one for one in with_cache.decisions if one.key == "resources.memory"]
    assert "for the response cache" in memory.reason
    tight = ModelConfig.build({"response_cache": {"size": "256Mi"}, "resources": {"memory_limit": "256Mi"}})
    with pytest.raises(ConfigError, match=r"resources\.memory_limit|batching\.max_batch_size"):
        plan(analyse("tiny"), tight)


def test_a_model_that_draws_is_never_remembered(analyse: Analyse) -> None:
    """The plan says why, a finding does, and asking for it is an error."""
    drawing = replace(analyse("tiny"), random_operators=("Multinomial", "RandomNormal"))
    made = plan(drawing, ModelConfig())
    assert not made.service.repeatable
    (decision,) = [one for one in made.decisions if one.key == "response_cache.size"]
    assert (decision.value, decision.basis) == (0, Basis.DECLARED)
    assert "(Multinomial, RandomNormal)" in decision.reason
    (finding,) = [one for one in made.findings if one.code == "response-cache.random"]
    assert finding.message.startswith("Equal requests get different answers")
    with pytest.raises(ConfigError, match="Multinomial") as caught:
        plan(drawing, ASKED)
    assert caught.value.field == "response_cache.size"
