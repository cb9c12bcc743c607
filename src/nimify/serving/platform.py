"""Platforms that start our image by a contract of their own: the port that they want, and the routes that they ask.

Which platform it is follows from variables that nobody else sets, or from `NIMIFY_PLATFORM`. The contracts are those of
the platforms' documentation: SageMaker's "Use your own inference code with hosting services", Vertex AI's "Custom
container requirements for inference", Azure ML's "Use a custom container to deploy a model to an online endpoint", and
Cloud Run's "Container runtime contract". Their routes exist on their platform only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nimify.errors import ConfigError, shortened
from nimify.serving.ports import HTTP_PORT, HTTP_PORT_VARIABLES

PLATFORM_VARIABLE: Final = "NIMIFY_PLATFORM"
SAGEMAKER, VERTEX, AZUREML, CLOUD_RUN = NAMES = ("sagemaker", "vertex", "azureml", "cloud-run")
_NONE: Final = "none"
_CLOUD_PORT: Final = 8080
_SIGNS: Final = (("SAGEMAKER_BIND_TO_PORT", SAGEMAKER), ("AIP_HTTP_PORT", VERTEX), ("AZUREML_MODEL_DIR", AZUREML))
"""Variables that only one platform sets, and which. Cloud Run's are also those of other Knatives."""
_HEALTH_VARIABLE: Final = "AIP_HEALTH_ROUTE"
_PREDICT_VARIABLE: Final = "AIP_PREDICT_ROUTE"
_ROUTE: Final = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]{1,1023}")


@dataclass(frozen=True, slots=True)
class Platform:
    """What a platform asks of a container.

    Attributes:
        name: One of `NAMES`.
        port: Where it asks, unless a variable says otherwise.
        port_variable: The variable in which it says where; empty when it has none of its own.
        health_route: What it asks to know whether the service is ready; empty when its deployment names one of ours.
        inference_route: Where it sends inference requests; empty when it passes on every path.
        takes_instances: Whether they may be `{"instances": [...]}`.
    """

    name: str
    port: int
    port_variable: str = ""
    health_route: str = ""
    inference_route: str = ""
    takes_instances: bool = False

    @property
    def one_route(self) -> bool:
        """Whether health and inference are told apart by their methods only."""
        return bool(self.health_route) and self.health_route == self.inference_route


def platform_of(environment: Mapping[str, str]) -> Platform | None:
    """The platform that started this process; `None` when it is none that we know.

    Args:
        environment: Usually `os.environ`.

    Raises:
        ConfigError: A variable of the platform is wrong.
    """
    name = environment.get(PLATFORM_VARIABLE, "").strip().lower()
    if not name:
        name = next((known for variable, known in _SIGNS if environment.get(variable, "").strip()), _NONE)
    if name == _NONE:
        return None
    if name == SAGEMAKER:
        return Platform(name, _CLOUD_PORT, "SAGEMAKER_BIND_TO_PORT", "/ping", "/invocations")
    if name == VERTEX:
        health = _route(environment, _HEALTH_VARIABLE, "/health")
        predict = _route(environment, _PREDICT_VARIABLE, "/predict")
        return Platform(name, _CLOUD_PORT, "AIP_HTTP_PORT", health, predict, takes_instances=True)
    if name == AZUREML:
        return Platform(name, HTTP_PORT, inference_route="/score")
    if name == CLOUD_RUN:
        return Platform(name, _CLOUD_PORT)
    raise ConfigError(f"must be one of {', '.join(NAMES)} or none, not '{shortened(name)}'.", field=PLATFORM_VARIABLE)


def started_with_serve(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment of a container that was started with the argument `serve`: only SageMaker does so.

    What the environment says itself of a platform is left as it is.
    """
    if environment.get(PLATFORM_VARIABLE, "").strip() or any(environment.get(sign, "").strip() for sign, _ in _SIGNS):
        return environment
    return {**environment, PLATFORM_VARIABLE: SAGEMAKER}


def port_variables(platform: Platform | None) -> tuple[str, ...]:
    """The variables that may name the port, in order of precedence: where the platform asks comes first."""
    own = (platform.port_variable,) if platform is not None and platform.port_variable else ()
    return (*own, *HTTP_PORT_VARIABLES)


def _route(environment: Mapping[str, str], variable: str, default: str) -> str:
    route = environment.get(variable, "").strip() or default
    if not _ROUTE.fullmatch(route):
        raise ConfigError(f"must be a path such as {default}, not '{shortened(route)}'.", field=variable)
    return route
