"""What config.pbtxt may ever say: Triton's ONNX Runtime backend refuses a model for one parameter that it lacks.

No real backend reads these keys in our tests, because the binary that can be installed lacks it, so they are held
against the lists in its source: triton-inference-server/onnxruntime_backend, `src/onnxruntime.cc`, August 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from nimify.artifacts.triton import parse_config, triton_artifact
from nimify.serving.grpc.protos import model_config_pb2 as pb
from nimify.testing import models

Prepare = Callable[..., Any]

FIELDS: Final = frozenset(
    {
        "name", "backend", "default_model_filename", "max_batch_size",
        "input.name", "input.data_type", "input.dims", "input.reshape",
        "output.name", "output.data_type", "output.dims", "output.reshape",
        "version_policy.latest.num_versions",
        "instance_group.count",
        "dynamic_batching.max_queue_delay_microseconds",
        "dynamic_batching.default_queue_policy.default_timeout_microseconds",
        "dynamic_batching.default_queue_policy.allow_timeout_override",
        "dynamic_batching.default_queue_policy.max_queue_size",
        "optimization.execution_accelerators.gpu_execution_accelerator.name",
        "optimization.execution_accelerators.gpu_execution_accelerator.parameters",
        "model_warmup.name", "model_warmup.batch_size", "model_warmup.count", "model_warmup.inputs",
        "parameters", "response_cache.enable",
    }
)  # fmt: skip
MODEL_PARAMETERS: Final = frozenset(
    {
        "intra_op_thread_count", "inter_op_thread_count", "execution_mode", "enable_mem_arena", "enable_mem_pattern",
        "memory.enable_memory_arena_shrinkage", "session.use_device_allocator_for_initializers",
    }
)  # fmt: skip
TENSORRT_PARAMETERS: Final = frozenset(
    {
        "max_workspace_size_bytes", "trt_engine_cache_enable", "trt_engine_cache_path", "trt_engine_cache_prefix",
        "trt_timing_cache_enable", "trt_timing_cache_path", "trt_force_timing_cache", "trt_profile_min_shapes",
        "trt_profile_opt_shapes", "trt_profile_max_shapes", "trt_builder_optimization_level",
        "trt_build_heuristics_enable", "trt_sparsity_enable", "trt_cuda_graph_enable", "trt_auxiliary_streams",
        "trt_tactic_sources", "trt_context_memory_sharing_enable", "trt_layer_norm_fp32_fallback",
        "trt_min_subgraph_size", "trt_max_partition_iterations", "trt_dump_subgraphs", "trt_detailed_build_log",
        "trt_force_sequential_engine_build", "trt_extra_plugin_lib_paths", "trt_dla_enable", "trt_dla_core",
        "trt_dump_ep_context_model", "trt_ep_context_file_path", "trt_ep_context_embed_mode",
    }
)  # fmt: skip
"""All that the backend knows but its precision and calibration options, which TensorRT 11 no longer has."""
CUDA_PARAMETERS: Final = frozenset({"cudnn_conv_algo_search"})

SETTINGS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"threads": 2, "batching": {"max_batch_size": 4, "max_queue_delay_us": 100}, "resources": {"instances": 2}},
    {"resources": {"gpu": "none"}, "tensorrt": {"enabled": False}},
    {"tensorrt": {"enabled": True}},
    {"response_cache": {"size": "1Mi"}},
)


def config_of(prepared: Any) -> pb.ModelConfig:
    return parse_config(triton_artifact(prepared.plan, prepared.analysis.golden).content)


def fields(message: Any, prefix: str = "") -> Iterator[str]:
    """Every field that is set, as a path; maps count as one."""
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        nested = field.message_type
        if nested is None or nested.GetOptions().map_entry or not nested.fields or path.endswith("reshape"):
            yield path
            continue
        for item in value if field.is_repeated else [value]:
            yield from fields(item, f"{path}.")


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("kind", ["digits", "image", "text", "strings", "several-outputs"])
def test_no_key_outside_the_closed_lists_is_written(kind: str, settings: dict[str, Any], prepare: Prepare) -> None:
    """Whatever is asked for: no field, no parameter and no accelerator that its reader might not know."""
    if settings.get("tensorrt", {}).get("enabled") and kind == "strings":
        settings = {}  # TensorRT runs nothing of it, which planning says
    config = config_of(prepare(kind, **settings))
    assert set(fields(config)) <= FIELDS
    assert set(config.parameters) <= MODEL_PARAMETERS
    for accelerator in config.optimization.execution_accelerators.gpu_execution_accelerator:
        allowed = {"tensorrt": TENSORRT_PARAMETERS, "cuda": CUDA_PARAMETERS}[accelerator.name]
        assert set(accelerator.parameters) <= allowed


def test_every_model_of_the_zoo_keeps_to_the_lists(prepare: Prepare) -> None:
    """With the settings that everybody has."""
    for kind in models.ALL:
        assert set(fields(config_of(prepare(kind)))) <= FIELDS


def test_tensorrt_keeps_its_engines_and_has_no_precision_of_its_own(prepare: Prepare) -> None:
    """Since TensorRT 11 the graph's types decide: a flag of ours would silently do nothing."""
    config = config_of(prepare("image", tensorrt={"enabled": True}))
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    assert accelerator.parameters["trt_engine_cache_enable"] == "true"
    assert accelerator.parameters["trt_engine_cache_path"] == "/opt/nim/.cache/tensorrt"
    assert accelerator.parameters["trt_profile_max_shapes"].startswith("image:8x")
    assert not any("precision" in key or "int8" in key for key in accelerator.parameters)


def test_a_cuda_model_under_dynamic_batching_does_not_search_for_algorithms(prepare: Prepare) -> None:
    """Each new batch size would cost seconds; without batching, or without a GPU, nothing is said."""

    def accelerators(**settings: Any) -> list[str]:
        config = config_of(prepare("image", tensorrt={"enabled": False}, **settings))
        return [item.name for item in config.optimization.execution_accelerators.gpu_execution_accelerator]

    assert accelerators() == ["cuda"]
    assert accelerators(batching={"max_batch_size": 0}) == []
    assert accelerators(resources={"gpu": "none"}) == []


def test_the_queue_has_the_limits_of_the_service(prepare: Prepare) -> None:
    """Who reaches Triton past our front waits no longer, and in no longer a queue."""
    settings = {"limits": {"max_queue_size": 77, "request_timeout_s": 1.5}}
    policy = config_of(prepare("digits", **settings)).dynamic_batching.default_queue_policy
    assert policy.max_queue_size == 77
    assert policy.default_timeout_microseconds == 1_500_000
    assert policy.timeout_action == pb.ModelQueuePolicy.REJECT
    assert policy.allow_timeout_override
