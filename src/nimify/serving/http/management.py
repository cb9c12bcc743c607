"""NIM's management API under `/v1`, and the pages that describe the service.

Bodies are the union of what published NIMs answer, so that each of their clients finds what it reads. What does not
change while the service runs is written once, at start.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import orjson

from nimify.metrics.exposition import CONTENT_TYPE
from nimify.metrics.service import ServiceMetrics
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.http.messages import Reply, Request, Response, json_response
from nimify.serving.http.router import Handler, Router, always
from nimify.serving.lifecycle import Lifecycle
from nimify.serving.paths import LIVE_PATH, METRICS_PATH, READY_PATH
from nimify.serving.spec import ServiceSpec
from nimify.version import __version__

API_VERSION: Final = "1.0.0"
"""Version of the management API, as `/v1/version` reports it."""
_DOCS_PAGE: Final = Path(__file__).with_name("docs_page.html")
_HTML: Final = b"text/html; charset=utf-8"
# The page brings its own script and style, talks to this service only, and may not be framed.
_PAGE_HEADERS: Final = (
    b"content-security-policy: default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    b"img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    b"x-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\n"
)


def add_management_routes(
    router: Router,
    spec: ServiceSpec,
    lifecycle: Lifecycle,
    metrics: ServiceMetrics,
    *,
    openapi: bytes,
    started_s: float,
) -> None:
    """Add the management routes and pages; `started_s` is when the service started, in Unix seconds."""
    for path, data in (
        ("/v1/models", models(spec, started_s)),
        ("/v1/metadata", metadata(spec)),
        ("/v1/version", {"release": spec.version, "api": API_VERSION}),
        ("/v1/license", license_info(spec)),
        ("/v1/manifest", manifest(spec)),
    ):
        router.add("GET", path, always(json_response(data)))
    router.add("GET", LIVE_PATH, always(_healthy("live")))
    router.add("GET", READY_PATH, _readiness(lifecycle))
    router.add("GET", METRICS_PATH, _metrics(metrics))
    for path in ("/openapi.json", "/v1/openapi.json"):
        router.add("GET", path, always(Response(200, openapi)))
    router.add("GET", "/docs", always(Response(200, _DOCS_PAGE.read_bytes(), _HTML, _PAGE_HEADERS)))
    router.add("GET", "/", always(Response(307, headers=b"location: /docs\r\n")))


def _healthy(word: str) -> Response:
    message = "Service is live." if word == "live" else "Service is ready."
    return json_response({"object": "health.response", "message": message, "status": word, word: True})


def _readiness(lifecycle: Lifecycle) -> Handler:
    ready = _healthy("ready")

    def handler(request: Request, reply: Reply) -> None:
        if not lifecycle.ready:
            raise RequestFault(Kind.UNAVAILABLE, f"Service is not ready: {lifecycle.reason}.")
        reply(ready)

    return handler


def _metrics(metrics: ServiceMetrics) -> Handler:
    def handler(request: Request, reply: Reply) -> None:
        reply(Response(200, metrics.text().encode(), CONTENT_TYPE.encode()))

    return handler


def models(spec: ServiceSpec, started_s: float) -> dict[str, Any]:
    """What `/v1/models` answers: OpenAI's list, which the NIM Operator reads the model's name from."""
    return {
        "object": "list",
        "data": [
            {
                "id": spec.name,
                "object": "model",
                "created": int(started_s),
                "owned_by": "system",
                "root": spec.name,
                "parent": None,
                "permission": [],
            }
        ],
    }


def metadata(spec: ServiceSpec) -> dict[str, Any]:
    """What `/v1/metadata` answers."""
    return {
        "version": spec.version,
        "assetInfo": [f"{Path(file.path).name} sha256:{file.sha256}" for file in spec.model_files],
        "licenseInfo": license_info(spec),
        "modelInfo": [{"shortName": f"{spec.name}:{spec.version}", "modelUrl": ""}],
        "repository_override": "",
        "selectedModelProfileId": spec.model_digest.removeprefix("sha256:"),
        "description": spec.description,
        "modelDigest": spec.model_digest,
        "generator": f"nimify/{__version__}",
    }


def license_info(spec: ServiceSpec) -> dict[str, Any]:
    """What `/v1/license` answers; `size` counts characters, as NIM does."""
    text = spec.license.content
    return {
        "name": spec.license.name,
        "path": "",
        # NIM's field is a SHA-1; it names the text, it protects nothing.
        "sha": hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
        "size": len(text),
        "url": spec.license.url,
        "type": "file" if text else "none",
        "content": text,
    }


def manifest(spec: ServiceSpec) -> dict[str, Any]:
    """What `/v1/manifest` answers: a model manifest of version 2 with the one profile that runs.

    The text is JSON, and therefore YAML, which is what clients parse it as.
    """
    profile = {
        "id": spec.model_digest.removeprefix("sha256:"),
        "tags": {"backend": "onnx", "engine": spec.engine, "max_batch_size": str(spec.max_batch_size)},
        "workspace": {
            "files": {
                Path(file.path).name: {"uri": file.path, "checksum": f"sha256:{file.sha256}"}
                for file in spec.model_files
            }
        },
    }
    document = {
        "schema_version": "2.0",
        "profile_selection_criteria": "default",
        "model": spec.name,
        "release": spec.version,
        "profiles": [profile],
    }
    return {"manifest_file": orjson.dumps(document, option=orjson.OPT_INDENT_2).decode(), "repository_override": ""}
