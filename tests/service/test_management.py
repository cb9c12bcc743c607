"""NIM's management API, the metrics, the logs, the environment, and what a start that fails says."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Ask, AssertRefused, Dial, RunServe, ScrapeOf

StartService = Callable[..., "RunningService"]
Served = Callable[..., "RunningService"]
Eventually = Callable[..., None]

GOOD: dict[str, Any] = {"inputs": {"x": [[1, 2, 3, 4]]}}


@pytest.fixture(scope="module")
def starting(start_service: StartService, slow_start_bundle: Path) -> RunningService:
    """A service that listens and is far from ready."""
    return start_service(slow_start_bundle, "--no-verify", wait_ready=False)


def test_a_starting_service_is_alive_and_not_ready(
    starting: RunningService, ask: Ask, assert_refused: AssertRefused
) -> None:
    """NIM's 503 with both envelopes, and the protocol's 400."""
    assert ask(starting, "GET", "/v1/health/live").status == 200
    assert ask(starting, "GET", "/v2/health/live").status == 200
    answer = ask(starting, "GET", "/v1/health/ready")
    assert_refused(answer, {503}, v2=False)
    message = "Service is not ready: the model is loading."
    details = {"message": message, "type": "service_unavailable", "code": 503}
    assert answer.json == {"object": "error", **details, "param": None, "error": details}
    for path in ("/v2/health/ready", "/v2/models/steps/ready", "/v2/models/steps/versions/1/ready"):
        assert_refused(ask(starting, "GET", path), {400}, v2=True)


def test_a_starting_service_describes_itself_and_refuses_inference(
    starting: RunningService, ask: Ask, scrape: ScrapeOf, assert_refused: AssertRefused
) -> None:
    """503 with Retry-After on both APIs; the rest is known already."""
    for path in ("/v1/models", "/v1/metadata", "/v1/manifest", "/v2/models/steps", "/openapi.json", "/docs"):
        assert ask(starting, "GET", path).status == 200
    tensor = {"name": "x", "datatype": "INT64", "shape": [1], "data": [1]}
    for path, body in (("/v1/infer", {"inputs": {"x": [1]}}), ("/v2/models/steps/infer", {"inputs": [tensor]})):
        answer = ask(starting, "POST", path, body)
        assert_refused(answer, {503}, v2=path.startswith("/v2"))
        assert int(answer.headers["retry-after"]) >= 1
    metrics = scrape(starting)
    assert metrics.value("nim_ready") == 0
    assert metrics.value("nv_inference_request_failure", reason="REJECTED") >= 2


def test_a_ready_service_says_so(served: Served, ask: Ask, scrape: ScrapeOf) -> None:
    """With the bodies that every NIM client reads."""
    service = served("tiny")
    for word in ("live", "ready"):
        answer = ask(service, "GET", f"/v1/health/{word}")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json == {
            "object": "health.response",
            "message": f"Service is {word}.",
            "status": word,
            word: True,
        }
        plain = ask(service, "GET", f"/v2/health/{word}")
        assert (plain.status, plain.body) == (200, b"")
    assert scrape(service).value("nim_ready") == 1


def test_the_models_list_is_openais(served: Served, ask: Ask) -> None:
    """The Operator takes the name from it."""
    document = ask(served("tiny"), "GET", "/v1/models").json
    (model,) = document["data"]
    assert document["object"] == "list"
    assert (model["id"], model["root"], model["object"], model["owned_by"]) == ("tiny", "tiny", "model", "system")
    assert abs(model["created"] - time.time()) < 24 * 3600


def test_metadata_version_license_and_manifest_agree(
    served: Served, make_bundle: Callable[..., Path], ask: Ask
) -> None:
    """On name, release, licence, and the digest of the file that is really there."""
    config = {"version": "2.1.0", "license": {"name": "Apache-2.0", "content": "Do as you like — fairly."}}
    service, bundle = served("tiny", **config), make_bundle("tiny", **config)
    (file,) = bundle.glob("model_repository/*/1/model.onnx")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    metadata = ask(service, "GET", "/v1/metadata").json
    assert metadata["version"] == "2.1.0"
    assert metadata["modelInfo"][0]["shortName"] == "tiny:2.1.0"
    assert metadata["assetInfo"] == [f"model.onnx sha256:{digest}"]
    assert ask(service, "GET", "/v1/version").json == {"release": "2.1.0", "api": "1.0.0"}
    license_ = ask(service, "GET", "/v1/license").json
    assert metadata["licenseInfo"] == license_
    text = config["license"]["content"]  # type: ignore[index]  # the literal above
    assert (license_["name"], license_["content"], license_["size"]) == ("Apache-2.0", text, len(text))
    assert license_["sha"] == hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    manifest = json.loads(ask(service, "GET", "/v1/manifest").json["manifest_file"])
    (profile,) = manifest["profiles"]
    assert (manifest["model"], manifest["release"]) == ("tiny", "2.1.0")
    assert profile["id"] == metadata["selectedModelProfileId"]
    assert profile["workspace"]["files"]["model.onnx"]["checksum"] == f"sha256:{digest}"
    assert str(bundle) not in json.dumps([metadata, license_, manifest])


def test_the_openapi_document_is_the_bundles(served: Served, make_bundle: Callable[..., Path], ask: Ask) -> None:
    """Byte for byte, at both places, with a page that needs no other host."""
    expected = (make_bundle("tiny") / "openapi.json").read_bytes()
    service = served("tiny")
    for path in ("/openapi.json", "/v1/openapi.json"):
        assert ask(service, "GET", path).body == expected
    page = ask(service, "GET", "/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not [word for word in page.body.split() if b"src=" in word and b"//" in word]
    root = ask(service, "GET", "/")
    assert (root.status, root.headers["location"]) == (307, "/docs")


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/nowhere", 404, "not_found"),
        ("GET", "/v2/nowhere", 404, None),
        ("GET", "/v2/models/other", 404, None),
        ("DELETE", "/v1/infer", 405, "method_not_allowed"),
        ("DELETE", "/v2/models/tiny/infer", 405, None),
        ("POST", "/v1/infer", 400, "invalid_argument"),
        ("POST", "/v2/models/tiny/infer", 400, None),
    ],
)
def test_errors_come_in_the_envelope_of_their_api(
    method: str, path: str, status: int, kind: str | None, served: Served, ask: Ask, assert_refused: AssertRefused
) -> None:
    """The protocol's `{"error": text}` under `/v2`, NIM's two everywhere else."""
    answer = ask(served("tiny"), method, path, b"{}" if method == "POST" else None)
    assert_refused(answer, {status}, v2=path.startswith("/v2"))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    if kind:
        assert answer.json["type"] == kind


def test_the_request_id_is_the_clients_or_a_new_one(served: Served, ask: Ask) -> None:
    """A sound one comes back; anything else is replaced, and no two are equal."""
    service = served("tiny")
    assert ask(service, "GET", "/v2", headers={"X-Request-Id": "a-1.b:c_D"}).headers["x-request-id"] == "a-1.b:c_D"
    replaced = {
        ask(service, "GET", "/v2", headers={"X-Request-Id": given}).headers["x-request-id"]
        for given in ("", "a b", "a" * 129, "ü", "<script>", '"', "a/b")
    }
    assert len(replaced) == 7
    assert all(id_.replace("-", "").isalnum() for id_ in replaced)
    answer = ask(service, "POST", "/v1/infer", GOOD, {"X-Request-Id": "r-9"})
    assert (answer.json["id"], answer.headers["x-request-id"]) == ("r-9", "r-9")


def test_metrics_count_what_happened(served: Served, ask: Ask, scrape: ScrapeOf) -> None:
    """Every counter of a known row of requests, to the last one."""
    service = served("tiny")
    before = scrape(service)
    rows = {"inputs": {"x": [[1, 2, 3, 4]] * 3}}
    expected = [
        ("POST", "/v1/infer", rows, 200),
        ("POST", "/v1/infer", GOOD, 200),
        ("POST", "/v1/infer", {}, 400),
        ("POST", "/v2/models/tiny/infer", {}, 400),
        ("PUT", "/v1/infer", {}, 405),
        ("GET", "/nowhere", None, 404),
    ]
    for method, path, body, status in expected:
        assert ask(service, method, path, body).status == status
    after = scrape(service)

    def grown(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    assert grown("nv_inference_request_success", model="tiny", version="1") == 2
    assert grown("nv_inference_count") == 4
    assert grown("nv_inference_exec_count") == 2
    assert grown("nv_inference_request_failure", reason="OTHER") == 2
    assert grown("nv_inference_request_failure", reason="BACKEND") == 0
    assert grown("nim_http_responses_total", code="400") == 2
    assert grown("nim_http_responses_total", code="404") == 1
    assert grown("nim_http_responses_total", code="405") == 1
    assert grown("nim_http_responses_total", code="200") == 3
    assert grown("nim_http_responses_total", code="500") == 0
    assert grown("nim_request_duration_seconds_count") == 2
    assert grown("nim_batch_size_sum") == 4
    assert grown("nim_batch_size_bucket", le="1") == 1
    assert grown("nim_batch_size_bucket", le="4") == 2
    total_us = grown("nv_inference_request_duration_us")
    assert total_us == pytest.approx(grown("nim_request_duration_seconds_sum") * 1e6)
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert 0 < sum(grown(f"nv_inference_{part}_duration_us") for part in parts) <= total_us
    assert after.value("nim_http_requests_in_flight") == 1
    assert after.value("nv_inference_pending_request_count") == 0
    assert after.value("nim_build_info", model="tiny", engine="onnxruntime") == 1
    assert after.value("process_resident_memory_bytes") > 10 << 20


def test_no_request_adds_a_series(served: Served, dial: Dial, scrape: ScrapeOf) -> None:
    """Ten thousand paths, methods and ids leave the scrape as long as it was."""
    service, random = served("tiny"), Random(7)
    before = scrape(service)
    with dial(service, timeout_s=20) as wire:
        for _ in range(400):
            wire.send(b"".join(_random_request(random) for _ in range(25)))
            for _ in range(25):
                answer = wire.answer()
                assert answer is not None
                assert answer.status == 404
    after = scrape(service)
    assert after.series == before.series
    code = {"code": "404"}
    assert after.value("nim_http_responses_total", **code) - before.value("nim_http_responses_total", **code) == 10_000


def _random_request(random: Random) -> bytes:
    prefix = random.choice(["/", "/v1/", "/v2/models/", "/v2/models/tiny/versions/"])
    path = prefix + "".join(random.choices('abcdef0123456789%.-_~{}"\\', k=12))
    method = random.choice(["GET", "POST", "DELETE"])
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: {random.random()}\r\n\r\n".encode()


HOSTILE_PATHS = (
    b"/\x1b[31mred",
    b'/a" level="error',
    b"/%0d%0a2026-01-01T00:00:00.000Z%20ERROR%20forged",
    b"/\xc2\x85forged",
    b"/\xe2\x80\xa8forged",
    b"/\xff\xfe",
    b'/","level":"error","x":"',
    b"/" + b"p" * 5000,
)


def _provoke(service: RunningService, dial: Dial) -> Iterator[bytes]:
    """Send what tries to forge log lines."""
    for path in HOSTILE_PATHS:
        for request_id in (b"ok", b"a\x0bb", b'","level":"error', b"\x1b[2J"):
            with dial(service) as wire:
                wire.send(b"GET %s HTTP/1.1\r\nHost: a\r\nX-Request-Id: %s\r\n\r\n" % (path, request_id))
                answer = wire.answer()
                assert answer is not None
                assert answer.status in {400, 404}
                yield path


def test_json_logs_parse_and_cannot_be_forged(
    start_service: StartService, make_bundle: Callable[..., Path], dial: Dial, ask: Ask
) -> None:
    """One object a line, whatever the path and the id of a request are."""
    service = start_service(make_bundle("tiny"), "--log-format", "json", "--log-level", "debug")
    sent = sum(1 for _ in _provoke(service, dial))
    assert ask(service, "POST", "/v1/infer", GOOD, {"X-Request-Id": "my-id"}).status == 200
    assert service.stop() == 0
    text = service.log.read_bytes()
    records = [json.loads(line) for line in text.split(b"\n")[:-1]]
    assert text.endswith(b"\n")
    assert all({"timestamp", "level", "event"} <= record.keys() for record in records)
    assert {record["level"] for record in records} <= {"debug", "info"}
    assert [r["event"] for r in records if r["event"] != "request"][:3] == ["listening", "model loaded", "ready"]
    access = [record for record in records if record["event"] == "request"]
    (mine,) = [record for record in access if record["request_id"] == "my-id"]
    assert (mine["method"], mine["path"], mine["status"]) == ("POST", "/v1/infer", 200)
    assert sent == len(HOSTILE_PATHS) * 4
    assert all(len(line) < 4096 for line in text.splitlines())


def test_readable_logs_cannot_be_forged(
    start_service: StartService, make_bundle: Callable[..., Path], dial: Dial
) -> None:
    """Every line is one of ours, and no control character reaches the terminal."""
    service = start_service(make_bundle("tiny"), "--log-level", "debug", "--quiet")
    for _ in _provoke(service, dial):
        pass
    assert service.stop() == 0
    lines = service.log.read_bytes().decode("utf-8").split("\n")[:-1]
    assert lines
    for line in lines:
        assert line.isprintable(), ascii(line)
        assert line[:4].isdigit()
        assert line[25:32].strip() in {"DEBUG", "INFO"}, line
    assert not [line for line in lines if line.split(maxsplit=2)[2].startswith("forged")]


def test_nims_variables_are_honoured(
    start_service: StartService, make_bundle: Callable[..., Path], scrape: ScrapeOf, ask: Ask
) -> None:
    """Level and form of the log, and the number of workers."""
    env = {"NIM_LOG_LEVEL": "DEBUG", "NIM_JSONL_LOGGING": "1", "NIM_HTTP_MAX_WORKERS": "2"}
    service = start_service(make_bundle("tiny"), env=env)
    assert scrape(service).value("nim_workers") == 2
    assert ask(service, "GET", "/v2").status == 200
    assert service.stop() == 0
    records = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert {record["level"] for record in records} >= {"debug", "info"}


def test_an_option_wins_over_a_variable(start_service: StartService, make_bundle: Callable[..., Path]) -> None:
    """Whoever types it means it."""
    env = {"NIM_LOG_LEVEL": "TRACE", "NIM_JSONL_LOGGING": "1"}
    service = start_service(make_bundle("tiny"), "--log-level", "info", "--log-format", "text", env=env)
    assert service.stop() == 0
    log = service.log.read_text()
    assert " INFO " in log
    assert " DEBUG " not in log


@pytest.fixture
def occupied() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.mark.parametrize("variable", [None, "NIM_HTTP_API_PORT", "NIM_SERVER_PORT", "PORT"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_named(
    variable: str | None, workers: str, occupied: int, make_bundle: Callable[..., Path], run_serve: RunServe
) -> None:
    """5, one line that says which port and what to do; from the option or from the environment."""
    options = ["--port", str(occupied)] if variable is None else []
    env = {variable: str(occupied)} if variable else {}
    done = run_serve(make_bundle("tiny"), "--quiet", "--workers", workers, *options, env=env)
    assert done.returncode == 5
    assert f"Port {occupied} of 127.0.0.1 is in use." in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NIM_HTTP_API_PORT", "eight"),
        ("NIM_HTTP_API_PORT", "65536"),
        ("NIM_HTTP_API_PORT", "-1"),
        ("NIM_LOG_LEVEL", "loud"),
        ("NIM_JSONL_LOGGING", "perhaps"),
        ("NIM_HTTP_MAX_WORKERS", "0"),
        ("NIM_HTTP_MAX_WORKERS", "1e3"),
    ],
)
def test_a_wrong_variable_is_an_error(
    variable: str, value: str, make_bundle: Callable[..., Path], run_serve: RunServe
) -> None:
    """2, and never a service that runs otherwise than it was told."""
    done = run_serve(make_bundle("tiny"), "--quiet", env={variable: value})
    assert done.returncode == 2
    assert value in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "missing", "replaced"])
def test_a_damaged_model_is_not_served(
    damage: str, make_bundle: Callable[..., Path], run_serve: RunServe, tmp_path: Path
) -> None:
    """4, with the file and what is wrong with it; nothing is loaded."""
    bundle = tmp_path / "bundle"
    shutil.copytree(make_bundle("tiny"), bundle)
    (file,) = bundle.glob("model_repository/*/1/model.onnx")
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(
            {
                "flipped": content[:-1] + bytes([content[-1] ^ 1]),
                "cut": content[:-1],
                "longer": content + b"\x00",
                "replaced": b"",
            }[damage]
        )
    done = run_serve(bundle, "--port", "0", "--quiet")
    assert done.returncode == 4
    assert "model_repository/tiny/1/model.onnx" in done.stderr
    assert ("cannot be read" if damage == "missing" else "does not match its digest") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_no_bundle_is_not_served(run_serve: RunServe, tmp_path: Path) -> None:
    """4, and how to make one."""
    done = run_serve(tmp_path, "--port", "0", "--quiet")
    assert done.returncode == 4
    assert "is not a bundle" in done.stderr
    assert "nimify create" in done.stderr
