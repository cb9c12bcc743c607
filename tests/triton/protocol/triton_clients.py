"""The script in the words of Triton's clients: HTTP and gRPC, each also with asyncio, and gRPC's stream."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http_client
import tritonclient.http.aio as http_aio
from google.protobuf.json_format import MessageToDict
from tests.triton.protocol.outcome import Outcome, Outcomes, counted, flattened, tensor, text
from tests.triton.protocol.script import Step
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

_METHODS: Final = {
    "live": "is_server_live",
    "ready": "is_server_ready",
    "model_ready": "is_model_ready",
    "server_metadata": "get_server_metadata",
    "model_metadata": "get_model_metadata",
    "config": "get_model_config",
    "statistics": "get_inference_statistics",
    "index": "get_model_repository_index",
    "load": "load_model",
    "unload": "unload_model",
    "system_memory_status": "get_system_shared_memory_status",
    "system_memory_register": "register_system_shared_memory",
    "system_memory_unregister": "unregister_system_shared_memory",
    "cuda_memory_status": "get_cuda_shared_memory_status",
    "cuda_memory_unregister": "unregister_cuda_shared_memory",
    "trace_settings": "get_trace_settings",
    "log_settings": "get_log_settings",
}
_ARGUMENTS: Final[dict[str, tuple[Any, ...]]] = {"system_memory_register": ("region", "/nimify-none", 64)}
_AS_JSON: Final = {name for name in _METHODS.values() if name.startswith("get_")}
_WAIT_S: Final = 60.0


class Client:
    """One of Triton's clients, asked one thing after the other.

    Args:
        module: `tritonclient.http` or `tritonclient.grpc`, which also make the tensors of their asyncio halves.
        client: The client.
        wait: Makes what a method gives into its result; runs coroutines.
        binary: Whether tensors travel as raw bytes, where there is a choice.
    """

    def __init__(self, module: Any, client: Any, wait: Callable[[Any], Any], *, binary: bool = True) -> None:
        self._module = module
        self._client = client
        self._wait = wait
        self._is_http = module is http_client
        self._binary = {"binary_data": binary} if self._is_http else {}

    def run(self, steps: Mapping[str, Step]) -> Outcomes:
        """What comes of each step."""
        return {name: self._outcome(step) for name, step in steps.items()}

    def _outcome(self, step: Step) -> Outcome:
        try:
            return self._infer(step) if step.method == "infer" else self._ask(step)
        except InferenceServerException as error:
            return {"status": status(error)}

    def _ask(self, step: Step) -> Outcome:
        name = _METHODS[step.method]
        options: dict[str, Any] = {} if self._is_http or name not in _AS_JSON else {"as_json": True}
        answer = self._wait(getattr(self._client, name)(*_ARGUMENTS.get(step.method, step.names), **options))
        ok = {"status": answered(self._module)}
        if step.method == "statistics":
            return ok | counted(answer)
        return ok if answer is None else ok | flattened(answer)

    def _infer(self, step: Step) -> Outcome:
        model, version = step.names
        inputs = [self._input(part) for part in step.inputs]
        outputs = [
            self._module.InferRequestedOutput(part.name, class_count=part.classes, **self._binary)
            for part in step.outputs
        ]
        result = self._send(model, inputs, version, outputs or None, step.options)
        return response_facts(self._module, result)

    def _send(self, model: str, inputs: Any, version: str, outputs: Any, options: Mapping[str, Any]) -> Any:
        return self._wait(self._client.infer(model, inputs, model_version=version, outputs=outputs, **options))

    def _input(self, part: Any) -> Any:
        made = self._module.InferInput(part.name, list(part.shape), part.datatype)
        array = np.array(part.elements, dtype=triton_to_np_dtype(part.datatype)).reshape(part.shape)
        made.set_data_from_numpy(array, **self._binary)
        return made


class StreamClient(Client):
    """Triton's gRPC client, whose inferences go through one stream."""

    def __init__(self, client: Any) -> None:
        super().__init__(grpc_client, client, _itself)
        self._answers: queue.Queue[Any] = queue.Queue()
        client.start_stream(lambda result, error: self._answers.put(error or result))

    def _send(self, model: str, inputs: Any, version: str, outputs: Any, options: Mapping[str, Any]) -> Any:
        self._client.async_stream_infer(model, inputs, model_version=version, outputs=outputs, **options)
        answer = self._answers.get(timeout=_WAIT_S)
        if isinstance(answer, InferenceServerException):
            raise answer
        return answer


def _itself(value: Any) -> Any:
    return value


def answered(module: Any) -> str:
    """The status of what was answered with a result."""
    return "200" if module is http_client else "OK"


def status(error: InferenceServerException) -> str:
    """HTTP's code, or the name of gRPC's; a message in a stream has none."""
    given = error.status()
    return "refused" if given is None else str(given).removeprefix("StatusCode.")


def response_facts(module: Any, result: Any) -> Outcome:
    """What an inference answered, whatever carried it."""
    response = result.get_response()
    if module is grpc_client:
        response = MessageToDict(response, preserving_proto_field_name=True)
        response.pop("raw_output_contents", None)
    facts = {"status": answered(module), "names": text([row["name"] for row in response.get("outputs", [])])}
    for row in response.get("outputs", []):
        shape = [int(dim) for dim in row["shape"]]
        facts[f"output {row['name']}"] = tensor(row["datatype"], shape, result.as_numpy(row["name"]))
    fields = {key: value for key, value in response.items() if key != "outputs"}
    return facts | flattened(fields)


def run_all(http_address: str, grpc_address: str, steps: Mapping[str, Step]) -> dict[str, Outcomes]:
    """The script by every client, by its name."""
    outcomes = {}
    with http_client.InferenceServerClient(http_address) as client:
        outcomes["tritonclient.http"] = Client(http_client, client, _itself).run(steps)
        as_json = {name: step for name, step in steps.items() if step.method == "infer"}
        outcomes["tritonclient.http JSON"] = Client(http_client, client, _itself, binary=False).run(as_json)
    with grpc_client.InferenceServerClient(grpc_address) as client:
        outcomes["tritonclient.grpc"] = Client(grpc_client, client, _itself).run(steps)
        streamed = {name: step for name, step in steps.items() if step.method == "infer"}
        outcomes["tritonclient.grpc stream"] = StreamClient(client).run(streamed)
    outcomes["tritonclient.http.aio"] = asyncio.run(_with_asyncio(http_client, http_aio, http_address, steps))
    outcomes["tritonclient.grpc.aio"] = asyncio.run(_with_asyncio(grpc_client, grpc_aio, grpc_address, steps))
    return outcomes


async def _with_asyncio(module: Any, half: Any, address: str, steps: Mapping[str, Step]) -> Outcomes:
    loop = asyncio.get_running_loop()
    client = half.InferenceServerClient(address)

    def wait(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(_WAIT_S)

    try:
        return await asyncio.to_thread(Client(module, client, wait).run, steps)
    finally:
        await client.close()
