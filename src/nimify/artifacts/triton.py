"""config.pbtxt: the model as Triton's `ModelConfig`, built as protobuf and written as text.

Complete and literal: with every input and output named, Triton fills in nothing of its own. The embedded engine reads
plan.json instead; both come from the same plan. Which fields and parameters are ever written is a closed list, because
Triton's ONNX Runtime backend refuses a model whose accelerator has a parameter that it does not know
(docs/architecture/04-triton.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, cast

from google.protobuf import text_format

from nimify.analysis.analysis import GoldenCase
from nimify.artifacts.artifact import Artifact
from nimify.artifacts.image import CACHE_FOLDER
from nimify.planning.accelerators import NO_GPU
from nimify.planning.plan import ServicePlan
from nimify.planning.repository import REPOSITORY
from nimify.serving.grpc.protos import model_config_pb2 as pb
from nimify.serving.spec import ServiceSpec
from nimify.tensors import TensorSpec

_HEADER: Final = "# Written by nimify. Change nimify.yaml instead, and run: nimify create\n"
ENGINE_CACHE: Final = f"{CACHE_FOLDER}/tensorrt"
"""Where TensorRT keeps its engines between starts: on the volume that the chart and KServe mount."""
_BACKENDS: Final = {"onnxruntime": "onnxruntime"}


def config_path(service: ServiceSpec) -> str:
    """Where the configuration lies, relative to the bundle."""
    return f"{REPOSITORY}/{service.name}/config.pbtxt"


def triton_artifact(plan: ServicePlan, cases: Iterable[GoldenCase] = ()) -> Artifact:
    """The config.pbtxt of a plan.

    Args:
        plan: What was decided.
        cases: Golden cases; the first one gives free axes a length for the warm-up, as one that is known to work.
    """
    message = model_config(plan.service, next(iter(cases), None))
    decided = {decision.key: decision.value for decision in plan.decisions}
    message.instance_group[0].count = decided["resources.instances"]
    if decided["tensorrt.enabled"]:
        _accelerate(message, "tensorrt", _tensorrt_parameters(decided["tensorrt.profiles"]))
    elif decided["resources.gpu"] != NO_GPU and plan.service.max_batch_size > 1:
        # By default ONNX Runtime tries every algorithm of cuDNN whenever a batch has another size than those before:
        # seconds each time, and under dynamic batching that is most of the time.
        _accelerate(message, "cuda", {"cudnn_conv_algo_search": "HEURISTIC"})
    return Artifact(config_path(plan.service), (_HEADER + text_format.MessageToString(message, as_utf8=True)).encode())


def _accelerate(message: pb.ModelConfig, name: str, parameters: Mapping[str, str]) -> None:
    """What executes the model on a GPU; Triton passes it over where an instance runs on the CPU."""
    message.optimization.execution_accelerators.gpu_execution_accelerator.append(
        pb.ModelOptimizationPolicy.ExecutionAccelerators.Accelerator(name=name, parameters=parameters)
    )


def _tensorrt_parameters(profiles: Mapping[str, Mapping[str, list[int]]]) -> dict[str, str]:
    """TensorRT's options: engines and timings are kept, for building them takes minutes.

    There is no precision among them: since TensorRT 11 it follows from the types in the graph alone.
    """
    return {
        "trt_engine_cache_enable": "true",
        "trt_engine_cache_path": ENGINE_CACHE,
        "trt_timing_cache_enable": "true",
        "trt_timing_cache_path": ENGINE_CACHE,
        **_profile_parameters(profiles),
    }


def _profile_parameters(profiles: Mapping[str, Mapping[str, list[int]]]) -> dict[str, str]:
    """The shapes that engines are built for, as ONNX Runtime reads them: `image:1x3x224x224,mask:1x64`."""
    return {
        f"trt_profile_{kind}_shapes": ",".join(
            f"{name}:{'x'.join(map(str, shapes[kind]))}" for name, shapes in profiles.items()
        )
        for kind in (("min", "opt", "max") if profiles else ())
    }


def model_config(service: ServiceSpec, case: GoldenCase | None = None) -> pb.ModelConfig:
    """A service as Triton's `ModelConfig`; see `triton_artifact`."""
    batched = service.max_batch_size > 0
    config = pb.ModelConfig(
        name=service.name,
        backend=_BACKENDS[service.engine],
        default_model_filename=service.model_file.rpartition("/")[2],
        max_batch_size=service.max_batch_size,
        input=[_input(spec, batched=batched) for spec in service.signature.inputs],
        output=[_output(spec, batched=batched) for spec in service.signature.outputs],
        version_policy=pb.ModelVersionPolicy(latest=pb.ModelVersionPolicy.Latest(num_versions=1)),
        # The plan's number of copies is filled in by `triton_artifact`.
        # KIND_AUTO, the default, takes a GPU where there is one, so the bundle need not be made again.
        instance_group=[pb.ModelInstanceGroup(count=1)],
    )
    if service.max_batch_size > 1:
        config.dynamic_batching.CopyFrom(_dynamic_batching(service))
    if service.response_cache_bytes:
        config.response_cache.enable = True
    if service.threads:
        config.parameters["intra_op_thread_count"].string_value = str(service.threads)
    if warmup := _warmup(service, case):
        config.model_warmup.append(warmup)
    return config


def _dynamic_batching(service: ServiceSpec) -> pb.ModelDynamicBatching:
    """Batching without waiting unless a delay was asked for, and a queue with the service's limits.

    There are no preferred sizes: without a delay they change nothing, and with one they would let a batch go before
    it is full. The limits matter to those who reach Triton's gRPC past our front.
    """
    policy = pb.ModelQueuePolicy(
        timeout_action=pb.ModelQueuePolicy.REJECT,
        default_timeout_microseconds=round(service.limits.request_timeout_s * 1e6),
        allow_timeout_override=True,
        max_queue_size=service.limits.max_queue_size,
    )
    return pb.ModelDynamicBatching(max_queue_delay_microseconds=service.max_queue_delay_us, default_queue_policy=policy)


def parse_config(text: bytes) -> pb.ModelConfig:
    """Read a config.pbtxt as Triton does.

    Raises:
        ValueError: It is not the text form of a `ModelConfig`; says where.
    """
    try:
        return text_format.Parse(text.decode(), pb.ModelConfig())
    except text_format.ParseError as error:
        raise ValueError(str(error)) from error


def _dims(spec: TensorSpec, *, batched: bool) -> tuple[list[int], pb.ModelTensorReshape | None]:
    """Dims as the configuration wants them: without the batch axis, and never empty.

    A tensor that has nothing but the batch axis is one element to Triton, and is reshaped for the model. Without
    batching Triton has no way to say "scalar"; planning reports that.
    """
    dims = spec.protocol_shape[1:] if batched else spec.protocol_shape
    if dims:
        return dims, None
    return [1], pb.ModelTensorReshape() if batched else None


def _input(spec: TensorSpec, *, batched: bool) -> pb.ModelInput:
    dims, reshape = _dims(spec, batched=batched)
    return pb.ModelInput(name=spec.name, data_type=_data_type(spec), dims=dims, reshape=reshape)


def _output(spec: TensorSpec, *, batched: bool) -> pb.ModelOutput:
    dims, reshape = _dims(spec, batched=batched)
    return pb.ModelOutput(name=spec.name, data_type=_data_type(spec), dims=dims, reshape=reshape)


def _data_type(spec: TensorSpec) -> pb.DataType:
    return cast("pb.DataType", pb.DataType.Value(spec.datatype.triton))  # the stubs say int


def _warmup(service: ServiceSpec, case: GoldenCase | None) -> pb.ModelWarmup | None:
    """One run before the model counts as ready; `None` when a free axis has no length that is known to work."""
    batched = service.max_batch_size > 0
    warmup = pb.ModelWarmup(name="first-run", batch_size=1 if batched else 0, count=1)
    for spec in service.signature.inputs:
        dims = _warmup_dims(spec, case, batched=batched)
        if not dims or min(dims) < 1:
            return None
        tensor = pb.ModelWarmup.Input(data_type=_data_type(spec), dims=dims)
        # Zero is in range for every index and every string; random bits are not.
        if spec.datatype.is_float:
            tensor.random_data = True
        else:
            tensor.zero_data = True
        warmup.inputs[spec.name].CopyFrom(tensor)
    return warmup


def _warmup_dims(spec: TensorSpec, case: GoldenCase | None, *, batched: bool) -> list[int]:
    dims, _ = _dims(spec, batched=batched)
    if case is None or min(dims, default=0) >= 0:
        return dims
    known = list(case.inputs[spec.name].shape)
    return known[1:] if batched else known
