"""Does a release answer the golden requests, asked through the cloud's own door?

Only the JSON form is asked: what a vendor's tool makes of raw bytes on their way differs from tool to tool.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.conformance.client import Answer, Client, NoAnswer
from nimify.conformance.live_checks.golden_replay import check_golden_json
from nimify.conformance.live_checks.service import LiveService
from nimify.conformance.report import Status
from nimify.errors import NimifyError, shortened
from nimify.programs import ProgramFailed
from nimify.targets.cloud.cloud import Cloud
from nimify.targets.cloud.tag import Tag

_REQUEST_TIMEOUT_S: Final = 90.0


class _ThroughTool(Client):
    """Sends inference requests through the vendor's tool."""

    def __init__(self, cloud: Cloud, tag: Tag, folder: Path) -> None:
        self._cloud = cloud
        self._tag = tag
        self._body = folder / "request.json"

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """See `Client.send`; whatever the path, the cloud has one door."""
        self._body.write_bytes(body or b"")
        try:
            return Answer(200, {}, self._cloud.ask(self._tag, self._body, timeout_s=_REQUEST_TIMEOUT_S))
        except ProgramFailed as error:
            raise NoAnswer(str(error)) from error


def broken_promise(cloud: Cloud, tag: Tag, bundle: Bundle) -> str | None:
    """What a release does otherwise than its bundle promises, in one sentence; `None` when it keeps to it.

    Raises:
        BundleDamaged: The recorded requests cannot be read.
    """
    golden = bundle.golden()
    with tempfile.TemporaryDirectory(prefix="nimify-") as folder:
        client = _ThroughTool(cloud, tag, Path(folder))
        try:
            result = check_golden_json(LiveService(client, bundle.path, bundle.service, golden))
        except NoAnswer as error:
            return f"The service gave no answer: {shortened(str(error), 240)}."
        except NimifyError as error:
            return error.message
    return result.message if result.status is Status.FAILED else None
