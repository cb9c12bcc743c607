"""What clients ask beside inference: whether the service is ready, and what it serves.

Each method says what its counterpart over HTTP says, from the same plain data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import ParseDict

from nimify.serving.faults import Kind, RequestFault
from nimify.serving.grpc.inference import check_model, is_served
from nimify.serving.grpc.protos import inference_pb2 as pb
from nimify.serving.lifecycle import Lifecycle
from nimify.serving.metadata import model_metadata, server_metadata
from nimify.serving.model_configuration import model_configuration
from nimify.serving.repository import repository_index
from nimify.serving.spec import ServiceSpec
from nimify.serving.statistics import ModelStatistics

if TYPE_CHECKING:
    from nimify.serving.grpc.call import Call


class Information:
    """Answers for the one model that is served; each method is a `UnaryMethod.handle`.

    Args:
        statistics: What `ModelStatistics` tells.
    """

    def __init__(self, spec: ServiceSpec, lifecycle: Lifecycle, statistics: ModelStatistics) -> None:
        self._spec = spec
        self._lifecycle = lifecycle
        self._statistics = statistics
        self._server = pb.ServerMetadataResponse(**server_metadata()).SerializeToString()
        self._model = ParseDict(model_metadata(spec), pb.ModelMetadataResponse()).SerializeToString()
        self._configuration = ParseDict(
            {"config": model_configuration(spec)}, pb.ModelConfigResponse()
        ).SerializeToString()

    def server_live(self, call: Call, request: pb.ServerLiveRequest) -> None:
        """The server runs, or there would be no answer."""
        call.reply(pb.ServerLiveResponse(live=True).SerializeToString())

    def server_ready(self, call: Call, request: pb.ServerReadyRequest) -> None:
        """Whether inference requests are answered."""
        call.reply(pb.ServerReadyResponse(ready=self._lifecycle.ready).SerializeToString())

    def model_ready(self, call: Call, request: pb.ModelReadyRequest) -> None:
        """The same for the model; one that there is not is not ready, which clients take for an answer."""
        ready = self._lifecycle.ready and is_served(self._spec, request.name, request.version)
        call.reply(pb.ModelReadyResponse(ready=ready).SerializeToString())

    def server_metadata(self, call: Call, request: pb.ServerMetadataRequest) -> None:
        """What the server is."""
        call.reply(self._server)

    def model_metadata(self, call: Call, request: pb.ModelMetadataRequest) -> None:
        """What the model takes and gives."""
        check_model(self._spec, request.name, request.version)
        call.reply(self._model)

    def model_config(self, call: Call, request: pb.ModelConfigRequest) -> None:
        """How the model is set up."""
        check_model(self._spec, request.name, request.version)
        call.reply(self._configuration)

    def model_statistics(self, call: Call, request: pb.ModelStatisticsRequest) -> None:
        """What the model has done; of every model when none is named."""
        if request.name:
            check_model(self._spec, request.name, request.version)
        statistics: dict[str, Any] = {"model_stats": [self._statistics.read()]}
        call.reply(ParseDict(statistics, pb.ModelStatisticsResponse()).SerializeToString())

    def repository_index(self, call: Call, request: pb.RepositoryIndexRequest) -> None:
        """Which models there are."""
        if request.repository_name:
            raise RequestFault(Kind.UNSUPPORTED, "There is one repository, which has no name.")
        rows = repository_index(self._spec, self._lifecycle, only_ready=request.ready)
        index = [pb.RepositoryIndexResponse.ModelIndex(**row) for row in rows]
        call.reply(pb.RepositoryIndexResponse(models=index).SerializeToString())
