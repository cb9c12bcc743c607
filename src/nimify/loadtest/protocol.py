"""How requests travel: what a load test needs of a protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from nimify.errors import EnvironmentProblem, one_line, shortened
from nimify.loadtest.pool import Traffic
from nimify.loadtest.request import LoadRequest
from nimify.tensors import DATATYPES, TensorSpec

_SHOWN: Final = 200


class WireProtocol(Protocol):
    """A protocol, and the service that is spoken to.

    Attributes:
        name: What reports call it.
        url: Where the service is.
    """

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def url(self) -> str:
        """Where the service is."""
        ...

    def models(self) -> list[str]:
        """Names of the models that are served.

        Raises:
            EnvironmentProblem: The service does not answer, or not as the protocol says.
        """
        ...

    def inputs(self, model: str) -> tuple[TensorSpec, ...]:
        """What a model takes; raises as `models` does."""
        ...

    def check(self, request: LoadRequest) -> None:
        """Send a request once: a service that refuses it would only show how fast it refuses.

        Raises:
            EnvironmentProblem: It is not answered right.
        """
        ...

    def traffic(self, requests: Sequence[LoadRequest], timeout_s: float) -> Traffic:
        """The requests as they will be sent many times, each with its time limit."""
        ...


def cannot_be_used(cause: object) -> EnvironmentProblem:
    """The error of a service that does not answer."""
    return EnvironmentProblem(f"The service cannot be used: {cause}.")


def refused(request: LoadRequest, status: object, said: str) -> EnvironmentProblem:
    """The error of a service that does not answer a request right."""
    return EnvironmentProblem(
        f"The service answers the request '{request.name}' with {status}: {shortened(one_line(said), _SHOWN)}",
        remedy="Send what it takes: golden requests with --bundle, or your own inputs with --sample.",
    )


def described_input(name: str, datatype: str, shape: Sequence[int]) -> TensorSpec:
    """An input as a service describes it.

    Raises:
        KeyError, TypeError: There is no such datatype, or the shape is none.
    """
    return TensorSpec(name, DATATYPES[datatype], tuple(length if length >= 0 else None for length in shape))
