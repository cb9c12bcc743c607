"""The model's configuration as Triton would tell it, for clients that ask before they send.

Plain data in the names and the order of Triton's `ModelConfig`, with every default spelled out, as Triton spells them.
It says the same as the bundle's config.pbtxt wherever both engines do the same; how many copies run, and on what, is
this engine's own.
"""

from __future__ import annotations

from typing import Any

from nimify.serving.spec import ServiceSpec
from nimify.tensors import TensorSpec


def model_configuration(spec: ServiceSpec) -> dict[str, Any]:
    """A service as Triton's `ModelConfig`; enumerations by name, numbers as numbers."""
    batched = spec.max_batch_size > 0
    return {
        "name": spec.name,
        "platform": f"{spec.engine}_onnx",
        "backend": spec.engine,
        "runtime": "",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": spec.max_batch_size,
        "input": [_input(tensor, batched=batched) for tensor in spec.signature.inputs],
        "output": [_output(tensor, batched=batched) for tensor in spec.signature.outputs],
        "batch_input": [],
        "batch_output": [],
        "optimization": {
            "priority": "PRIORITY_DEFAULT",
            "input_pinned_memory": {"enable": True},
            "output_pinned_memory": {"enable": True},
            "gather_kernel_buffer_threshold": 0,
            "eager_batching": False,
        },
        **_batching(spec),
        "instance_group": [_instances(spec)],
        "default_model_filename": spec.model_file.rpartition("/")[2],
        "cc_model_filenames": {},
        "metric_tags": {},
        "parameters": {"intra_op_thread_count": {"string_value": str(spec.threads)}} if spec.threads else {},
        "model_warmup": [],
        **({"response_cache": {"enable": True}} if spec.response_cache_bytes else {}),
    }


def _input(tensor: TensorSpec, *, batched: bool) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "data_type": tensor.datatype.triton,
        "format": "FORMAT_NONE",
        **_dims(tensor, batched=batched),
        "is_shape_tensor": False,
        "allow_ragged_batch": False,
        "optional": False,
        "is_non_linear_format_io": False,
    }


def _output(tensor: TensorSpec, *, batched: bool) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "data_type": tensor.datatype.triton,
        **_dims(tensor, batched=batched),
        "label_filename": "",
        "is_shape_tensor": False,
        "is_non_linear_format_io": False,
    }


def _dims(tensor: TensorSpec, *, batched: bool) -> dict[str, Any]:
    """Without the batch axis, and never empty: one element without an axis is reshaped for the model."""
    dims = tensor.protocol_shape[1:] if batched else tensor.protocol_shape
    if dims:
        return {"dims": dims}
    return {"dims": [1], "reshape": {"shape": []}} if batched else {"dims": [1]}


def _batching(spec: ServiceSpec) -> dict[str, Any]:
    """What merges requests; left out where none are merged."""
    if spec.max_batch_size <= 1:
        return {}
    return {
        "dynamic_batching": {
            "preferred_batch_size": [spec.max_batch_size],
            "max_queue_delay_microseconds": spec.max_queue_delay_us,
            "preserve_ordering": False,
            "priority_levels": 0,
            "default_priority_level": 0,
            "default_queue_policy": {
                "timeout_action": "REJECT",
                "default_timeout_microseconds": round(spec.limits.request_timeout_s * 1e6),
                "allow_timeout_override": True,
                "max_queue_size": spec.limits.max_queue_size,
            },
            "priority_queue_policy": {},
        }
    }


def _instances(spec: ServiceSpec) -> dict[str, Any]:
    return {
        "name": f"{spec.name}_0",
        "kind": "KIND_CPU",
        "count": spec.instances,
        "gpus": [],
        "secondary_devices": [],
        "profile": [],
        "passive": False,
        "host_policy": "",
    }
