"""The chart as the cluster would get it: rendered by Helm, from a copy that holds nothing which leads out of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.chart.chart import CHART_FOLDER
from nimify.conformance.readers import NoAnswer, Reader, reason
from nimify.conformance.report import CheckResult, skipped
from nimify.conformance.staging import staged
from nimify.errors import BundleDamaged, BundleError, one_line, shortened

HELM: Final = Reader("helm", "Install Helm 4 (3.18 and later 3.x work, too).")
KUBERNETES: Final = "1.37"
"""The newest release that the templates are checked against."""
SCHEMA_FILE: Final = "values.schema.json"
WHAT_IS_RENDERED: Final = "What the chart renders"
_RENDERED: Final = "rendered.yaml"
IMAGE: Final = "registry.example.com/nimify/checked"
"""A bundle does not know where its image is, and Helm renders nothing without one."""
_DIALECT: Final = "http://json-schema.org/draft-07/schema#"
_REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef", "$id", "id"})


class NotRendered(Exception):
    """Helm does not render the chart; the text says why, in one sentence."""


@contextmanager
def staged_chart(bundle: Bundle, *also: str) -> Iterator[Path]:
    """A folder with a copy of the chart in `chart/`, which names nothing outside of itself.

    Args:
        bundle: The bundle.
        also: Other files of it that are copied.

    Raises:
        BundleDamaged: The chart cannot be copied, or would make Helm read something else.
    """
    with staged(bundle.path, CHART_FOLDER, *also) as folder:
        chart = folder / CHART_FOLDER
        if (chart / "charts").exists():
            raise BundleDamaged(
                f"'{CHART_FOLDER}/charts' is none of nimify's: its chart holds no other charts.",
                remedy="Remove it, or install that chart by itself.",
            )
        if (chart / SCHEMA_FILE).exists():
            _check_references(f"{CHART_FOLDER}/{SCHEMA_FILE}", (chart / SCHEMA_FILE).read_bytes())
        yield folder


def render(folder: Path) -> Path:
    """Let Helm render the chart in `folder` into a file beside it.

    Raises:
        NotRendered: It does not.
    """
    try:
        answer = HELM.ask(
            *("template", "service", CHART_FOLDER, "--namespace", "checked"),
            *("--kube-version", f"{KUBERNETES}.0", "--set-string", f"image.repository={IMAGE}"),
            folder=folder,
        )
    except NoAnswer as error:
        raise NotRendered(str(error)) from None
    if answer.code:
        raise NotRendered(reason(answer))
    file = folder / _RENDERED
    file.write_text(answer.output, encoding="utf-8")
    return file


@contextmanager
def rendered_chart(bundle: Bundle) -> Iterator[Path | None]:
    """The file with what Helm renders; `None` where it does not, which is for the check of the chart to tell."""
    try:
        with staged_chart(bundle) as folder:
            try:
                file: Path | None = render(folder)
            except NotRendered:
                file = None
            yield file
    except BundleError:
        yield None


def not_rendered(check: str) -> CheckResult:
    """The result of a check that reads what Helm renders, where it renders nothing."""
    message = f"{WHAT_IS_RENDERED} was not read, because helm does not render it."
    return skipped(check, message, "See the check 'chart'.")


def _check_references(path: str, content: bytes) -> None:
    """Refuse a schema that leads elsewhere: Helm fetches what it names, from a disk or a network."""
    try:
        foreign = _foreign(json.loads(content))
    except (ValueError, RecursionError):
        raise BundleDamaged(f"'{path}' is not valid JSON.", remedy="Run: nimify create MODEL --force") from None
    if foreign is not None:
        raise BundleDamaged(
            f"'{path}' refers to '{shortened(one_line(foreign))}', which is not part of it.",
            remedy="Write the schema again with: nimify create MODEL --force",
        )


def _foreign(schema: Any) -> str | None:
    """The first reference that is not to the schema itself."""
    if isinstance(schema, list):
        return next((found for item in schema if (found := _foreign(item)) is not None), None)
    if not isinstance(schema, dict):
        return None
    for key, value in schema.items():
        if isinstance(value, str):
            outside = key in _REFERENCES and not value.startswith("#")
            if outside or (key == "$schema" and value != _DIALECT):
                return value
        elif (found := _foreign(value)) is not None:
            return found
    return None
