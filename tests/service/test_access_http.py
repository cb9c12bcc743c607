"""The gate over HTTP: every route of a real service, with every kind of bad credential and every odd spelling."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nimify.metrics.registry import Registry
from nimify.serving.entrance import Entrance
from nimify.serving.logs import Log
from nimify.serving.settings import ServiceSettings
from nimify.serving.spec import ServiceSpec
from nimify.serving.worker import _Worker
from nimify.serving.worker_context import WorkerContext

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Answer, Ask, AssertRefused, Dial, RunServe

StartService = Callable[..., "RunningService"]
KEY, OTHER = "the-first-key-of-this-test", "the-other-key-of-this-test"
OPEN = {"/v1/health/live", "/v1/health/ready", "/v2/health/live", "/v2/health/ready"}
BODY = b'{"inputs":{"x":[[1,2,3,4]]}}'


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "keys.txt"
    file.write_text(f"# both teams\n{KEY}\n{OTHER}\n")
    return file


@pytest.fixture(scope="module")
def guarded(start_service: StartService, make_bundle: Callable[..., Path], keys: Path) -> RunningService:
    """A service that asks for keys, with its log at its most talkative."""
    return start_service(make_bundle("tiny"), "--api-keys", str(keys), "--log-level", "trace")


@pytest.fixture(scope="module")
def routes(make_bundle: Callable[..., Path]) -> dict[str, list[str]]:
    """Every route that a worker has, by path, with its methods: taken from the table itself."""

    async def table(listener: socket.socket) -> dict[str, list[str]]:
        bundle, settings, log = make_bundle("tiny"), ServiceSettings(port=0), Log("critical")
        context = WorkerContext(
            bundle=bundle,
            spec=ServiceSpec.load(bundle),
            settings=settings,
            listener=listener,
            registry=Registry(),
            log=log,
            entrance=Entrance.open(settings, log=log),
        )
        worker = _Worker(context)
        routes = worker._fronts(worker._model()).router.routes
        return {path.decode(): [method.decode() for method in methods] for path, methods in routes.items()}

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return asyncio.run(table(listener))


CREDENTIALS: dict[str, dict[str, str]] = {
    "none": {},
    "empty-bearer": {"Authorization": "Bearer "},
    "no-scheme": {"Authorization": KEY},
    "basic": {"Authorization": f"Basic {KEY}"},
    "wrong": {"Authorization": "Bearer some-key-that-is-not-known"},
    "upper-case": {"Authorization": f"Bearer {KEY.upper()}"},
    "too-short": {"Authorization": f"Bearer {KEY[:-1]}"},
    "too-long": {"Authorization": f"Bearer {KEY}x"},
    "two-in-one": {"Authorization": f"Bearer {KEY}, {OTHER}"},
    "comment": {"X-API-Key": "# both teams"},
    "empty-key": {"X-API-Key": ""},
    "wrong-key": {"X-API-Key": "some-key-that-is-not-known"},
    "cookie": {"Cookie": f"api_key={KEY}"},
    "proxy-header": {"Proxy-Authorization": f"Bearer {KEY}"},
    "forwarded": {"X-Forwarded-For": "127.0.0.1", "X-Original-URL": "/v1/health/live"},
}


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_no_route_opens_to_a_bad_credential(
    credential: str,
    guarded: RunningService,
    routes: dict[str, list[str]],
    ask: Ask,
    assert_refused: AssertRefused,
) -> None:
    """401 with a challenge on every route and method, health apart; nothing of the route shows."""
    assert len(routes) > 20
    for path, methods in routes.items():
        for method in {*methods, "OPTIONS", "DELETE"}:
            answer = ask(guarded, method, path, BODY if method == "POST" else None, CREDENTIALS[credential])
            if path in OPEN:
                assert answer.status in {200, 405}
            else:
                assert answer.status == 401, (method, path)
                assert answer.headers["www-authenticate"].startswith("Bearer ")
                assert "allow" not in answer.headers
                if method != "HEAD":
                    assert_refused(answer, {401}, v2=path.startswith("/v2"))


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}"}, {"X-API-Key": OTHER}])
def test_every_route_opens_to_every_key(
    headers: dict[str, str], guarded: RunningService, routes: dict[str, list[str]], ask: Ask
) -> None:
    """In either header."""
    for path, methods in routes.items():
        for method in methods:
            assert ask(guarded, method, path, BODY if method == "POST" else None, headers).status != 401
    assert ask(guarded, "POST", "/v1/infer", BODY, headers).status == 200


SPELLINGS = (
    "//v1/models", "/v1//models", "/v1/models/", "/v1/models;x", "/v1/%6dodels", "/v1%2fmodels", "/V1/MODELS",
    "/v1/health/live/../../models", "/v1/health/live/%2e%2e/%2e%2e/models", "/v1/health/live;/../models",
    "/v1/health/live%00/v1/models", "/v1/models?x=/v1/health/live", "/v1/models#/v1/health/live", "*", "x",
    "http://a/v1/models", "http://a/v1/health/live", "//a/v1/health/live", "/v1/health/live/", "//v1/health/live",
    "/v1/health/live%2f", "/V1/health/live", "/v1/health/live\\..\\..\\models",
)  # fmt: skip
HOSTS = ("a", "localhost", "a/v1/health/live?", "a/v1/health/live?x=", "127.0.0.1:1/v1/health/live", "a@b")


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("host", HOSTS)
def test_no_spelling_leads_past_the_gate(version: str, host: str, guarded: RunningService, dial: Dial) -> None:
    """Twice a slash, encoded dots, another host, an absolute target, HTTP/1.0: refused, and never answered."""
    for method in ("GET", "HEAD", "OPTIONS", "POST"):
        for target in SPELLINGS:
            with dial(guarded) as wire:
                wire.send(
                    f"{method} {target} HTTP/{version}\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")
                )
                answer = wire.answer(to_head=method == "HEAD")
                assert answer is None or answer.status in {400, 401}, (method, target, answer)


def test_a_key_given_twice_is_refused(guarded: RunningService, dial: Dial) -> None:
    """Which of the two would count is a question that must not arise."""
    for first, second in ((KEY, "wrong"), ("wrong", KEY), (KEY, KEY)):
        for name in ("Authorization: Bearer ", "X-API-Key: "):
            with dial(guarded) as wire:
                wire.send(f"GET /v1/models HTTP/1.1\r\nHost: a\r\n{name}{first}\r\n{name}{second}\r\n\r\n".encode())
                answer = wire.answer()
                assert answer is not None
                assert answer.status == 400


def test_a_stranger_s_body_is_not_read(guarded: RunningService, dial: Dial) -> None:
    """Refused at the end of the headers, before a byte of a large body is asked for."""
    with dial(guarded) as wire:
        wire.send(b"POST /v1/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 60000000\r\nExpect: 100-continue\r\n\r\n")
        answer = wire.answer()
        assert answer is not None
        assert answer.status == 401
        assert wire.at_end()


def test_pipelined_requests_are_each_asked_for_a_key(guarded: RunningService, dial: Dial) -> None:
    """One that was let in lets nobody in behind it."""
    good = f"GET /v1/version HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n\r\n".encode()
    bad = b"GET /v1/version HTTP/1.1\r\nHost: a\r\n\r\n"
    with dial(guarded) as wire:
        wire.send(good + bad + good + bad)
        answers = [wire.answer() for _ in range(4)]
    assert [answer.status for answer in answers if answer] == [200, 401, 200, 401]


def test_keys_rotate_without_a_restart(
    start_service: StartService,
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    ask: Ask,
    eventually: Callable[..., None],
) -> None:
    """A connection that was open before is asked for the new key as well."""
    file = tmp_path / "keys"
    file.write_text(KEY)
    service = start_service(make_bundle("tiny"), "--api-keys", str(file), "--workers", "2")

    def status(key: str) -> set[int]:
        return {ask(service, "GET", "/v1/version", headers={"X-API-Key": key}).status for _ in range(8)}

    assert (status(KEY), status(OTHER)) == ({200}, {401})
    draft = tmp_path / "draft"
    draft.write_text(OTHER)
    draft.replace(file)
    eventually(lambda: status(OTHER) == {200}, what="the new key")
    eventually(lambda: status(KEY) == {401}, what="the end of the old key")


def test_health_can_be_shut_too(
    start_service: StartService, make_bundle: Callable[..., Path], keys: Path, ask: Ask, eventually: Callable[..., None]
) -> None:
    """For services that a stranger must not even find."""
    service = start_service(make_bundle("tiny"), "--api-keys", str(keys), "--protect-health", wait_ready=False)
    for path in OPEN:
        assert ask(service, "GET", path).status == 401
    ready = {"X-API-Key": KEY}
    eventually(lambda: ask(service, "GET", "/v1/health/ready", headers=ready).status == 200, what="readiness")


def test_no_key_shows_in_a_log(guarded: RunningService, ask: Ask) -> None:
    """Neither those that are accepted nor those that people mistype."""
    typed = "a-key-that-somebody-mistyped"
    answers: list[Answer] = [
        ask(guarded, "GET", "/v1/models", headers={"Authorization": f"Bearer {key}"}) for key in (KEY, OTHER, typed)
    ]
    assert [answer.status for answer in answers] == [200, 200, 401]
    log = guarded.log.read_text()
    assert "/v1/models" in log
    assert not any(key in log for key in (KEY, OTHER, typed))


@pytest.mark.parametrize("content", ["", "# nothing\n", "short\n"])
def test_a_service_without_good_keys_does_not_start(
    content: str, tmp_path: Path, make_bundle: Callable[..., Path], run_serve: RunServe
) -> None:
    """An empty file must not open the service, nor leave a service that nobody can use."""
    file = tmp_path / "keys"
    file.write_text(content)
    ended = run_serve(make_bundle("tiny"), "--port", "0", "--api-keys", str(file))
    assert ended.returncode == 2
    assert "API keys" in ended.stderr
    assert "Traceback" not in ended.stderr
