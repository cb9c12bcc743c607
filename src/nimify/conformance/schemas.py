"""The child process that holds files against schemas.

    python -m nimify.conformance.schemas values VALUES SCHEMA
    python -m nimify.conformance.schemas kubernetes MANIFESTS RELEASE

It writes `{"problem": ..., "read": ..., "unread": [...]}` to standard output. A pattern of a hostile file can keep a
reader busy for ever, which then is this process's end and nobody else's.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from nimify.conformance.yaml_documents import yaml_documents

_KIND: Final = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_API_VERSION: Final = re.compile(r"([a-z0-9][a-z0-9.-]{0,252}/)?v[0-9][a-z0-9]{0,30}")


def main(arguments: list[str]) -> None:
    """Read what the arguments name, and tell what was found."""
    what, *files = arguments
    reading = _values(*map(Path, files)) if what == "values" else _kubernetes(Path(files[0]), files[1])
    json.dump(reading, sys.stdout)


def _values(values: Path, schema: Path) -> dict[str, Any]:
    import jsonschema  # type: ignore[import-untyped]  # it ships no types
    from referencing import Registry

    try:
        (data,) = yaml_documents(values.read_text(encoding="utf-8")) or [{}]
    except ValueError as unreadable:
        return _found(f"it cannot be read: {unreadable}")
    # A registry of its own, or the library would fetch what the schema names.
    validator = jsonschema.Draft7Validator(json.loads(schema.read_bytes()), registry=Registry())
    error = jsonschema.exceptions.best_match(validator.iter_errors(data))
    return _found(None if error is None else f"{error.message} (at '{_place(error)}')", read=1)


def _kubernetes(file: Path, version: str) -> dict[str, Any]:
    try:
        documents = [document for document in yaml_documents(file.read_text(encoding="utf-8")) if document is not None]
    except ValueError as error:
        return _found(f"it is not YAML: {error}")
    unread: list[str] = []
    for number, document in enumerate(documents, 1):
        try:
            problem = _problem(document, version)
        except LookupError:
            unread.append(document["kind"])
            continue
        if problem:
            return _found(f"document {number}: {problem}")
    return _found(None, read=len(documents) - len(unread), unread=sorted(set(unread)))


def _problem(document: Any, version: str) -> str | None:
    """What the strict schema of its kind has against a document.

    Raises:
        LookupError: There is no schema of that kind.
    """
    import kubernetes_validate

    kind, api_version = (document.get(key) if isinstance(document, dict) else None for key in ("kind", "apiVersion"))
    # They become the name of the file that the library opens.
    if not (isinstance(kind, str) and _KIND.fullmatch(kind)):
        return "it has no kind."
    if not (isinstance(api_version, str) and _API_VERSION.fullmatch(api_version)):
        return f"{kind} has no apiVersion."
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        raise LookupError(kind) from None
    except kubernetes_validate.ValidationError as error:
        return f"{kind}: {error.message} (at '{_place(error)}')"
    return None


def _place(error: Any) -> str:
    return "/".join(map(str, error.absolute_path))


def _found(problem: str | None, *, read: int = 0, unread: list[str] | None = None) -> dict[str, Any]:
    return {"problem": problem, "read": read, "unread": unread or []}


if __name__ == "__main__":
    main(sys.argv[1:])
