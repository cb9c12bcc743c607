"""What clients and load generators of Triton ask beside inference: configuration, statistics, the repository's index.

Answered in Triton's own JSON, so that `tritonclient.http` and `perf_analyzer` work unchanged. What changes a server or
shares a client's memory with it is refused by name: this service serves one model, and nothing reaches it but requests.
"""

from __future__ import annotations

from typing import Final

from nimify.serving.faults import invalid
from nimify.serving.http.messages import Reply, Request, json_response
from nimify.serving.http.router import Handler, Router, always
from nimify.serving.lifecycle import Lifecycle
from nimify.serving.model_configuration import model_configuration
from nimify.serving.open_inference import parse_object
from nimify.serving.repository import repository_index
from nimify.serving.spec import ServiceSpec
from nimify.serving.statistics import ModelStatistics

NOT_OFFERED: Final = {
    "/v2/repository/models/": "Models are not loaded or unloaded while the service runs: deploy another release of it.",
    "/v2/systemsharedmemory": "Shared memory is not offered: send the tensors with the request.",
    "/v2/cudasharedmemory": "Shared memory is not offered: send the tensors with the request.",
    "/v2/trace/": "Traces are not set by a request, but when the service starts.",
    "/v2/logging": "Logs are not set by a request, but when the service starts.",
}
"""What Triton has beyond this and we refuse, by how the path begins."""


def add_model_information(router: Router, spec: ServiceSpec, lifecycle: Lifecycle, statistics: ModelStatistics) -> None:
    """Add the routes for the one model that is served."""
    stats = _statistics(statistics)
    model = f"/v2/models/{spec.name}"
    configuration = always(json_response(model_configuration(spec)))
    for base in (model, f"{model}/versions/{spec.model_version}"):
        router.add("GET", f"{base}/config", configuration)
        router.add("GET", f"{base}/stats", stats)
    router.add("GET", "/v2/models/stats", stats)
    router.add("POST", "/v2/repository/index", _index(spec, lifecycle))
    for beginning, message in {**NOT_OFFERED, f"{model}/trace/": NOT_OFFERED["/v2/trace/"]}.items():
        router.refuse(beginning, message)


def _statistics(statistics: ModelStatistics) -> Handler:
    def handler(request: Request, reply: Reply) -> None:
        reply(json_response({"model_stats": [statistics.read()]}))

    return handler


def _index(spec: ServiceSpec, lifecycle: Lifecycle) -> Handler:
    def handler(request: Request, reply: Reply) -> None:
        fields = parse_object(memoryview(request.body)) if request.body else {}
        only_ready = fields.get("ready", False)
        if type(only_ready) is not bool:
            raise invalid("'ready' must be true or false.")
        reply(json_response(repository_index(spec, lifecycle, only_ready=only_ready)))

    return handler
