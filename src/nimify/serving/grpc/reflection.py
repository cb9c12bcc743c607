"""Server reflection, v1 and v1alpha: tools learn from the service itself what may be called.

Our message types carry a package of their own, so that a client's types fit beside them in one process (see
protos/inference.proto). What reflection tells has the names that are on the wire.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from nimify.serving.faults import RequestFault
from nimify.serving.grpc.codec import Content
from nimify.serving.grpc.server import read_message
from nimify.serving.grpc.status import StatusCode

if TYPE_CHECKING:
    from nimify.serving.grpc.call import Call

_OURS: Final = "nimify."
_FOLDER: Final = "nimify/serving/grpc/protos/"


def wire_name(name: str) -> str:
    """The name on the wire of a service or message of ours."""
    return name.removeprefix(_OURS)


class Catalog:
    """The files that describe the services, with the names that are on the wire."""

    def __init__(self, modules: Sequence[ModuleType]) -> None:
        self._files: dict[str, bytes] = {}
        self._imports: dict[str, tuple[str, ...]] = {}
        self._pool = descriptor_pool.DescriptorPool()
        self.services: list[str] = []
        for module in modules:
            file = _on_the_wire(module.DESCRIPTOR.serialized_pb)
            self._pool.Add(file)
            self._files[file.name] = file.SerializeToString()
            self._imports[file.name] = tuple(file.dependency)
            self.services += [f"{file.package}.{service.name}" for service in file.service]

    def file(self, name: str) -> list[bytes]:
        """A file and those that it builds on; empty when there is none of that name."""
        if name not in self._files:
            return []
        found = [self._files[name]]
        for imported in self._imports[name]:
            found += self.file(imported)
        return found

    def file_of(self, symbol: str) -> list[bytes]:
        """The file that describes a symbol, and those that it builds on."""
        try:
            return self.file(self._pool.FindFileContainingSymbol(symbol).name)
        except KeyError:
            return []

    def is_message(self, name: str) -> bool:
        """Whether there is a message of that name."""
        try:
            self._pool.FindMessageTypeByName(name)
        except KeyError:
            return False
        return True


def _on_the_wire(serialized: bytes) -> FileDescriptorProto:
    file = FileDescriptorProto.FromString(serialized)
    file.name = _file_name(file.name)
    file.package = wire_name(file.package)
    file.dependency[:] = [_file_name(name) for name in file.dependency]
    for service in file.service:
        for method in service.method:
            method.input_type = _type_name(method.input_type)
            method.output_type = _type_name(method.output_type)
    for message in file.message_type:
        _rename_types(message)
    return file


def _rename_types(message: Any) -> None:
    for field in message.field:
        if field.type_name:
            field.type_name = _type_name(field.type_name)
    for nested in message.nested_type:
        _rename_types(nested)


def _type_name(name: str) -> str:
    return "." + wire_name(name.removeprefix("."))


def _file_name(name: str) -> str:
    return name.removeprefix(_FOLDER)


class Reflection:
    """Answers one version of the reflection service.

    Args:
        messages: The module of its messages.
    """

    def __init__(self, catalog: Catalog, messages: Any) -> None:
        self.catalog = catalog
        self._messages = messages

    def open(self, call: Call) -> ReflectionSession:
        """`ServerReflectionInfo`; see `StreamMethod.open`."""
        return ReflectionSession(self.answer, self._messages.ServerReflectionRequest.FromString, call)

    def answer(self, request: Any) -> bytes:
        """The answer to one question, serialized."""
        messages = self._messages
        response = messages.ServerReflectionResponse(valid_host=request.host, original_request=request)
        question = request.WhichOneof("message_request")
        if question == "list_services":
            services = [messages.ServiceResponse(name=name) for name in self.catalog.services]
            response.list_services_response.service.extend(services)
        elif question == "file_by_filename":
            self._give(response, self.catalog.file(request.file_by_filename))
        elif question == "file_containing_symbol":
            self._give(response, self.catalog.file_of(request.file_containing_symbol))
        elif question == "all_extension_numbers_of_type":
            name = request.all_extension_numbers_of_type
            if self.catalog.is_message(name):
                response.all_extension_numbers_response.base_type_name = name
            else:
                _refuse(response, StatusCode.NOT_FOUND, "There is no such message.")
        elif question == "file_containing_extension":
            _refuse(response, StatusCode.NOT_FOUND, "There are no extensions.")
        else:
            _refuse(response, StatusCode.INVALID_ARGUMENT, "The request asks for nothing.")
        return bytes(response.SerializeToString())

    def _give(self, response: Any, files: list[bytes]) -> None:
        if files:
            response.file_descriptor_response.file_descriptor_proto.extend(files)
        else:
            _refuse(response, StatusCode.NOT_FOUND, "There is no such file or symbol.")


def _refuse(response: Any, code: StatusCode, message: str) -> None:
    response.error_response.error_code = int(code)
    response.error_response.error_message = message


class ReflectionSession:
    """One `ServerReflectionInfo` call; see `Session`. Questions wait while the client does not read answers."""

    busy = False

    def __init__(self, answer: Callable[[Any], bytes], read: Callable[[Content], Any], call: Call) -> None:
        self._answer = answer
        self._read = read
        self._call = call
        self._waiting: deque[Content] = deque()
        self._half_closed = False
        self._answering = False

    @property
    def accepting(self) -> bool:
        """See `Session.accepting`."""
        return not self._waiting

    def message(self, content: Content) -> None:
        """See `Session.message`."""
        self._waiting.append(content)
        self._go_on()

    def half_closed(self) -> None:
        """See `Session.half_closed`."""
        self._half_closed = True
        self._go_on()

    def writable(self) -> None:
        """See `Session.writable`."""
        self._go_on()

    def gone(self, *, timed_out: bool) -> None:
        """See `Session.gone`."""
        self._waiting.clear()

    def _go_on(self) -> None:
        if self._answering:
            return
        self._answering = True
        waited = bool(self._waiting)
        try:
            while self._waiting and not self._call.outbox.size:
                self._answer_one(self._waiting.popleft())
        finally:
            self._answering = False
        if waited and not self._waiting:
            self._call.accept_more()
        if self._half_closed and not self._waiting:
            self._call.end()

    def _answer_one(self, content: Content) -> None:
        try:
            self._call.send(self._answer(read_message(self._read, content)))
        except RequestFault as fault:
            self._waiting.clear()
            self._call.fail(fault)
