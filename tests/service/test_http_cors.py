"""Web pages of other origins: shut out unless they are named, and never with what a browser adds by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Ask

APP = "https://app.example.com"
BODY = b'{"inputs":{"x":[[1,2,3,4]]}}'
KEY = "the-only-key-of-this-test"


def preflight(ask: Ask, service: RunningService, origin: str, path: str = "/v1/infer") -> dict[str, str]:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    return dict(ask(service, "OPTIONS", path, headers=asked).headers)


def grants(headers: dict[str, str]) -> set[str]:
    return {name for name in headers if name.startswith("access-control-")}


def test_by_default_no_page_is_told_anything(served: Callable[..., RunningService], ask: Ask) -> None:
    """Neither before nor with an answer."""
    service = served("tiny")
    assert not grants(preflight(ask, service, APP))
    assert not grants(dict(ask(service, "POST", "/v1/infer", BODY, {"Origin": APP}).headers))


@pytest.fixture(scope="module")
def allowing(
    start_service: Callable[..., RunningService],
    make_bundle: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> RunningService:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY)
    return start_service(make_bundle("tiny"), "--cors-origin", APP, "--api-keys", str(keys), "--no-grpc")


def test_a_named_origin_may_call(allowing: RunningService, ask: Ask) -> None:
    """A browser asks first, without a key, and is told methods and headers; the answer itself names the origin."""
    told = preflight(ask, allowing, APP)
    assert told["access-control-allow-origin"] == APP
    assert "POST" in told["access-control-allow-methods"]
    assert "x-api-key" in told["access-control-allow-headers"]
    answer = ask(allowing, "POST", "/v1/infer", BODY, {"Origin": APP, "X-API-Key": KEY})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in {**told, **answer.headers}
    refused = ask(allowing, "GET", "/v1/models", headers={"Origin": APP})
    assert refused.status == 401
    assert refused.headers["access-control-allow-origin"] == APP


@pytest.mark.parametrize(
    "origin",
    ["https://app.example.com.evil.com", "http://app.example.com", "https://app.example.com:444", "null", "*",
     "https://APP.example.com", "https://app.example.com/", ""],
)  # fmt: skip
def test_any_other_origin_may_not(origin: str, allowing: RunningService, ask: Ask) -> None:
    """However like it looks; and its preflight is asked for a key like everything else."""
    assert not grants(preflight(ask, allowing, origin))
    answer = ask(allowing, "POST", "/v1/infer", BODY, {"Origin": origin, "X-API-Key": KEY})
    assert answer.status == 200
    assert not grants(dict(answer.headers))


def test_all_origins_are_allowed_without_credentials(
    start_service: Callable[..., RunningService], make_bundle: Callable[..., Path], ask: Ask
) -> None:
    """The star is sent as a star: a browser then sends no cookies."""
    service = start_service(make_bundle("tiny"), "--cors-origin", "*", "--no-grpc")
    answer = ask(service, "POST", "/v1/infer", BODY, {"Origin": APP})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
