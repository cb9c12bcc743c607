"""What `--set` means to the docker target: where the container is published, and what it may use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from nimify.errors import ConfigError
from nimify.images.runtime import PIDS
from nimify.serving.ports import GRPC_PORT, HTTP_PORT
from nimify.serving.settings import ServiceSettings
from nimify.targets.settings import keys_at, typed

_GPUS: Final = re.compile(r"|all|[0-9]{1,3}|device=[A-Za-z0-9,:.-]{1,200}")
_USER: Final = re.compile(r"|[0-9]{1,10}(:[0-9]{1,10})?")
_NETWORK: Final = re.compile(r"|[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_MOUNTED: Final = re.compile(r'[^,"\x00-\x1f\x7f]*')
_LEAST_MEMORY: Final = 16 << 20
_SCRATCH_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """How the container is run.

    Attributes:
        host: Address of this machine that its ports are published on; loopback unless told.
        port: Port of HTTP there; 0 for any free one.
        grpc_port: Port of gRPC there; 0 for any free one.
        memory: Bytes that it may use; 0 for what the plan says.
        cpus: CPUs that it may use; 0 for what the plan says.
        pids: Processes and threads that it may have.
        user: User and group id to run as; empty for the image's own.
        gpus: GPUs that it sees: `all`, a number, or `device=...`; empty for none. Left open, the plan decides.
        network: A network of the engine to join besides; empty for none.
        tmp: Bytes of memory for temporary files; 0 for what the plan says.
        cache: Bytes of memory for what is made once and kept while it runs; 0 for what the plan says.
        api_keys: File or folder of the keys that callers need, mounted read-only; empty for none.
    """

    host: str = "127.0.0.1"
    port: int = HTTP_PORT
    grpc_port: int = GRPC_PORT
    memory: int = 0
    cpus: float = 0.0
    pids: int = PIDS
    user: str = ""
    gpus: str = ""
    network: str = ""
    tmp: int = 0
    cache: int = 0
    api_keys: str = ""

    @classmethod
    def parse(cls, given: Mapping[str, str], plan: Mapping[str, Any]) -> DockerSettings:
        """Settings as they were typed; what was left open follows the plan.

        Args:
            given: As they were typed.
            plan: The values of the plan's decisions, by key.

        Raises:
            ConfigError: One is unknown or wrong.
        """
        values = typed(cls, given, target="docker")
        if values.get("port") == 0:
            values.setdefault("grpc_port", 0)
        planned = plan.get("deployment.memory_limit") or plan.get("resources.memory_limit") or 0
        values["memory"] = values.get("memory") or int(planned)
        values["cpus"] = values.get("cpus") or float(plan.get("resources.cpu_limit") or 0)
        values["tmp"] = values.get("tmp") or int(plan.get("deployment.tmp") or _SCRATCH_BYTES)
        values["cache"] = values.get("cache") or int(plan.get("deployment.cache") or _SCRATCH_BYTES)
        if values.get("api_keys"):
            values["api_keys"] = keys_at(values["api_keys"])
        if plan.get("deployment.family") == "triton":
            values.setdefault("gpus", "all")
        settings = cls(**values)
        settings.check()
        return settings

    def check(self) -> None:
        """Refuse what the engine would misread.

        Raises:
            ConfigError: Names the setting.
        """
        ServiceSettings(host=self.host, port=self.port, grpc_port=self.grpc_port)
        for name, pattern in (("gpus", _GPUS), ("user", _USER), ("network", _NETWORK)):
            if not pattern.fullmatch(getattr(self, name)):
                raise ConfigError(f"'{getattr(self, name)}' is none.", field=f"--set {name}")
        if self.memory and self.memory < _LEAST_MEMORY:
            raise ConfigError(f"must be at least {_LEAST_MEMORY} bytes.", field="--set memory")
        if not _MOUNTED.fullmatch(self.api_keys):
            raise ConfigError("a path with commas, quotes or signs cannot be mounted.", field="--set api_keys")
        if self.pids < 1:
            raise ConfigError("must be at least 1.", field="--set pids")

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)
