"""Does what was deployed answer, and answer right? The bundle's golden requests decide."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.conformance.client import Client, NoAnswer
from nimify.conformance.golden_proof import broken_promise
from nimify.errors import shortened
from nimify.serving.paths import READY_PATH

_REQUEST_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.1


class Unfit(Exception):
    """A service that was started does not do what its bundle promises; the text says what, in words."""


def verify(url: str, bundle: Bundle, *, within_s: float, headers: Mapping[str, str] | None = None) -> None:
    """Hold a live service to its bundle: health, then every golden request in both forms.

    Args:
        url: Where the service is.
        bundle: What it should serve.
        within_s: How long it may take to answer at all; a wrong answer is not waited for to become right.
        headers: Sent with every request, such as a key; health may want one, too.

    Raises:
        Unfit: It gives no answer in time, or another one than was recorded.
    """
    await_ready(url, within_s=within_s, headers=headers)
    problem = broken_promise(Client(url, timeout_s=_REQUEST_TIMEOUT_S, headers=headers), bundle)
    if problem is not None:
        raise Unfit(problem)


def await_ready(url: str, *, within_s: float, headers: Mapping[str, str] | None = None) -> None:
    """Wait until a service says that it is ready; with headers, where health wants a key, too.

    Raises:
        Unfit: It does not in time.
    """
    deadline = time.monotonic() + within_s
    while (problem := unready(url, headers=headers)) is not None:
        if time.monotonic() >= deadline:
            raise Unfit(f"The service was not ready within {within_s:.0f} seconds: {problem}.")
        time.sleep(_POLL_S)


def unready(url: str, *, timeout_s: float = 2.0, headers: Mapping[str, str] | None = None) -> str | None:
    """Why a service is not ready, without a full stop; `None` when it is."""
    try:
        answer = Client(url, timeout_s=timeout_s, headers=headers).get(READY_PATH)
    except NoAnswer as error:
        return shortened(str(error), 240)
    return None if answer.status == 200 else f"{READY_PATH} answered {answer.status}"
