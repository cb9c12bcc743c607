"""The services of the gRPC port, put together: which method is answered by whom."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from nimify.serving.bulk import Bulk
from nimify.serving.dataplane import DataPlane
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.grpc.codec import Content
from nimify.serving.grpc.health import Health
from nimify.serving.grpc.inference import Inference
from nimify.serving.grpc.inference_stream import InferenceStream
from nimify.serving.grpc.information import Information
from nimify.serving.grpc.methods import Methods, StreamMethod, UnaryMethod
from nimify.serving.grpc.protos import health_pb2, inference_pb2, model_config_pb2, reflection_v1_pb2
from nimify.serving.grpc.protos import reflection_v1alpha_pb2 as reflection_alpha_pb2
from nimify.serving.grpc.reflection import Catalog, Reflection, wire_name
from nimify.serving.grpc.server import OTHER
from nimify.serving.lifecycle import Lifecycle
from nimify.serving.spec import ServiceSpec
from nimify.serving.statistics import ModelStatistics

if TYPE_CHECKING:
    from nimify.serving.grpc.call import Call

_NOT_OFFERED: Final = {
    "RepositoryModelLoad": "Models are not loaded while the service runs: deploy another release of it.",
    "RepositoryModelUnload": "Models are not unloaded while the service runs: deploy another release of it.",
    **{
        f"{memory}SharedMemory{action}": "Shared memory is not offered: send the tensors with the request."
        for memory in ("System", "Cuda")
        for action in ("Status", "Register", "Unregister")
    },
    "TraceSetting": "Traces are not set by a call, but when the service starts.",
    "LogSettings": "Logs are not set by a call, but when the service starts.",
}
"""What Triton has beyond this and we refuse."""


class GrpcServices:
    """Every method of the port, and what must be called regularly.

    Attributes:
        methods: By full name.
        health: Whose `sweep` tells those who watch.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        lifecycle: Lifecycle,
        data_plane: DataPlane,
        statistics: ModelStatistics,
        bulk: Bulk,
    ) -> None:
        catalog = Catalog((model_config_pb2, inference_pb2, health_pb2, reflection_v1_pb2, reflection_alpha_pb2))
        self.timed_methods: dict[str, bool] = {OTHER: False}
        """Names of the methods, and whether their duration is measured: that of a stream is its client's."""
        self.health = Health(lifecycle, catalog.services)
        self.methods: Methods = {}
        self._add_inference(Inference(spec, data_plane, bulk), Information(spec, lifecycle, statistics))
        self._add_health()
        for module in (reflection_v1_pb2, reflection_alpha_pb2):
            service = module.DESCRIPTOR.services_by_name["ServerReflection"]
            method = StreamMethod("ServerReflectionInfo", Reflection(catalog, module).open)
            self.methods[_path(service, method.name)] = method
        for offered in self.methods.values():
            self.timed_methods[offered.name] = isinstance(offered, UnaryMethod) and offered.name not in _NOT_OFFERED

    def _add_inference(self, inference: Inference, information: Information) -> None:
        handlers: dict[str, Callable[[Call, Any], None]] = {
            "ServerLive": information.server_live,
            "ServerReady": information.server_ready,
            "ModelReady": information.model_ready,
            "ServerMetadata": information.server_metadata,
            "ModelMetadata": information.model_metadata,
            "ModelInfer": inference.infer,
            "ModelConfig": information.model_config,
            "ModelStatistics": information.model_statistics,
            "RepositoryIndex": information.repository_index,
        }
        service = inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
        for name, handler in handlers.items():
            # `ModelInfer` reads its messages itself: what is large is read beside the event loop.
            read = _as_it_is if name == "ModelInfer" else _reader(inference_pb2, f"{name}Request")
            self.methods[_path(service, name)] = UnaryMethod(name, read, handler)
        stream = StreamMethod("ModelStreamInfer", partial(InferenceStream, inference))
        self.methods[_path(service, stream.name)] = stream
        for name, message in _NOT_OFFERED.items():
            self.methods[_path(service, name)] = UnaryMethod(name, bytes, partial(_refuse, message))

    def _add_health(self) -> None:
        service = health_pb2.DESCRIPTOR.services_by_name["Health"]
        check = UnaryMethod("Check", health_pb2.HealthCheckRequest.FromString, self.health.check)
        watch = StreamMethod("Watch", self.health.watch)
        for method in (check, watch):
            self.methods[_path(service, method.name)] = method


def _path(service: Any, method: str) -> bytes:
    return f"/{wire_name(service.full_name)}/{method}".encode()


def _reader(module: Any, message: str) -> Any:
    return getattr(module, message).FromString


def _as_it_is(content: Content) -> Content:
    return content


def _refuse(message: str, call: Any, request: bytes) -> None:
    raise RequestFault(Kind.UNSUPPORTED, message)
