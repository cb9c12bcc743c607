"""The Open Inference Protocol over gRPC, tensors as raw bytes."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError

from nimify.conformance.address import Address
from nimify.errors import ConfigError, EnvironmentProblem
from nimify.loadtest.grpc_call import CallFailed, call
from nimify.loadtest.grpc_connection import GrpcConnection, call_headers
from nimify.loadtest.pool import Traffic
from nimify.loadtest.protocol import cannot_be_used, described_input, refused
from nimify.loadtest.request import LoadRequest
from nimify.serving.grpc.protos import inference_pb2 as pb
from nimify.serving.raw_tensors import bytes_from_array
from nimify.tensors import TensorSpec

_SERVICE: Final = "/inference.GRPCInferenceService/"
_NOT_METADATA: Final = frozenset(
    {"connection", "content-length", "content-type", "host", "keep-alive", "proxy-connection", "te",
     "transfer-encoding", "upgrade"}
)  # fmt: skip
"""Headers that HTTP/2 has no place for, or that gRPC writes itself."""
_Message = TypeVar("_Message")


@dataclass(frozen=True, slots=True)
class GrpcProtocol:
    """See `WireProtocol`.

    Attributes:
        address: Where the service is.
        metadata: Sent with every call, e.g. an API key.
        timeout_s: How long one call may take while the service is asked for what it is.
        tls: What to speak TLS with; `None` for plain text.

    Raises:
        ConfigError: Something cannot be sent as metadata.
    """

    address: Address
    metadata: Mapping[str, str]
    timeout_s: float
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        for name in self.metadata:
            if name.lower() in _NOT_METADATA or name.lower().startswith("grpc-"):
                raise ConfigError(f"'{name}' cannot be sent over gRPC.", field="--header", remedy="Leave it out.")
        if self.tls is not None:
            self.tls.set_alpn_protocols(["h2"])

    @property
    def name(self) -> str:
        """See `WireProtocol.name`."""
        return "grpc"

    @property
    def url(self) -> str:
        """See `WireProtocol.url`."""
        return f"{'grpcs' if self.address.secure else 'grpc'}://{self.address.authority}"

    def models(self) -> list[str]:
        """See `WireProtocol.models`."""
        answer = self._ask("RepositoryIndex", pb.RepositoryIndexRequest(ready=True), pb.RepositoryIndexResponse)
        return list(dict.fromkeys(model.name for model in answer.models))

    def inputs(self, model: str) -> tuple[TensorSpec, ...]:
        """See `WireProtocol.inputs`."""
        answer = self._ask("ModelMetadata", pb.ModelMetadataRequest(name=model), pb.ModelMetadataResponse)
        try:
            return tuple(described_input(row.name, row.datatype, row.shape) for row in answer.inputs)
        except KeyError:
            raise EnvironmentProblem("The service does not describe the model as the protocol says.") from None

    def check(self, request: LoadRequest) -> None:
        """See `WireProtocol.check`."""
        try:
            self._call("ModelInfer", _encoded(request))
        except CallFailed as error:
            raise refused(request, error.reason, error.said) from error

    def traffic(self, requests: Sequence[LoadRequest], timeout_s: float) -> Traffic:
        """See `WireProtocol.traffic`."""
        wires = [_encoded(request) for request in requests]
        return Traffic(self.address, wires, timeout_s, self.tls, partial(GrpcConnection, self._headers("ModelInfer")))

    def _headers(self, method: str) -> bytes:
        address = self.address
        return call_headers(_SERVICE + method, address.authority, self.metadata, secure=address.secure)

    def _call(self, method: str, message: bytes) -> bytes:
        return call(Traffic(self.address, [message], self.timeout_s, self.tls), self._headers(method))

    def _ask(self, method: str, message: Any, kind: Callable[[], _Message]) -> _Message:
        answer: Any = kind()
        try:
            answer.ParseFromString(self._call(method, message.SerializeToString()))
        except CallFailed as error:
            raise cannot_be_used(f"it answers {method} with {error}") from error
        except DecodeError:
            raise cannot_be_used(f"it answers {method} with a message that cannot be read") from None
        return answer  # type: ignore[no-any-return]  # of the kind that was asked for


def _encoded(request: LoadRequest) -> bytes:
    message = pb.ModelInferRequest(model_name=request.model)
    for spec in request.specs:
        array = request.inputs[spec.name]
        message.inputs.add(name=spec.name, datatype=spec.datatype.name, shape=array.shape)
        message.raw_input_contents.append(bytes(bytes_from_array(array, spec.datatype)))
    return message.SerializeToString()
