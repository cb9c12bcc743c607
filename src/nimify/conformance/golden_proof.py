"""Does a service that was started answer right? The bundle's golden requests decide."""

from __future__ import annotations

from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.conformance.client import Client, NoAnswer
from nimify.conformance.live_checks.golden_replay import check_golden_binary, check_golden_json
from nimify.conformance.live_checks.health import check_health
from nimify.conformance.live_checks.service import LiveService
from nimify.conformance.report import Status
from nimify.errors import NimifyError, shortened

_CHECKS: Final = (check_health, check_golden_json, check_golden_binary)


def broken_promise(client: Client, bundle: Bundle) -> str | None:
    """What a live service does otherwise than its bundle promises, in one sentence; `None` when it keeps to it.

    It is asked for its health, and then every golden request in both forms.

    Args:
        client: How to ask it.
        bundle: What it should serve.

    Raises:
        BundleDamaged: The recorded requests cannot be read.
    """
    service = LiveService(client, bundle.path, bundle.service, bundle.golden())
    for check in _CHECKS:
        try:
            result = check(service)
        except NoAnswer as error:
            return f"The service gave no answer: {shortened(str(error), 240)}."
        except NimifyError as error:
            return error.message
        if result.status is Status.FAILED:
            return result.message
    return None
