"""How much a service may remember: what is asked for here, or else the bundle's, and nothing where that is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nimify.errors import ConfigError
from nimify.serving.response_cache.size import response_cache_bytes
from nimify.serving.settings import ServiceSettings
from nimify.serving.spec import ServiceSpec
from nimify.serving.triton.settings import TritonSettings
from nimify.tensors import Signature

NOTHING = Signature((), ())
SPEC = ServiceSpec("m", "1", "1", "f", (), "sha256:aa", "onnxruntime", NOTHING, NOTHING, repeatable=True)
CACHED = replace(SPEC, response_cache_bytes=1 << 20)


def settings(variable: str | None = None, **fields: object) -> ServiceSettings:
    environment = {} if variable is None else {"NIMIFY_RESPONSE_CACHE": variable}
    return ServiceSettings.from_environment(environment, **fields)


@pytest.mark.parametrize(
    ("spec", "variable", "size"),
    [
        (SPEC, None, 0),
        (CACHED, None, 1 << 20),
        (SPEC, "64MiB", 64 << 20),
        (CACHED, "2Gi", 2 << 30),
        (CACHED, "0", 0),
        (replace(SPEC, repeatable=False), "0", 0),
    ],
)
def test_what_is_asked_for_here_wins_over_the_bundle(spec: ServiceSpec, variable: str | None, size: int) -> None:
    """Also when it is nothing."""
    assert response_cache_bytes(spec, settings(variable)) == size


def test_an_option_wins_over_the_environment() -> None:
    """As everywhere."""
    assert response_cache_bytes(SPEC, settings("1MiB", response_cache=2 << 20)) == 2 << 20


def test_a_model_that_may_be_random_is_refused() -> None:
    """Nothing starts that would give two requests one drawing."""
    with pytest.raises(ConfigError, match="nothing may be remembered") as caught:
        response_cache_bytes(replace(SPEC, repeatable=False), settings("1MiB"))
    assert caught.value.field == "NIMIFY_RESPONSE_CACHE"


def test_triton_remembers_only_what_its_configuration_lets_it() -> None:
    """A size alone would do nothing, so it is refused."""
    with_triton = settings("1MiB", triton=TritonSettings())
    assert response_cache_bytes(CACHED, with_triton) == 1 << 20
    with pytest.raises(ConfigError, match=r"config\.pbtxt"):
        response_cache_bytes(SPEC, with_triton)


def test_what_is_no_size_is_refused() -> None:
    """The message names the variable and shows what a size looks like."""
    with pytest.raises(ConfigError, match="512Mi") as caught:
        settings("plenty")
    assert caught.value.field == "NIMIFY_RESPONSE_CACHE"
