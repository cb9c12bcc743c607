"""Writes docs/reference from the program itself, so that the pages cannot lag behind it.

python -m nimify.testing.reference docs/reference
python -m nimify.testing.reference --check docs/reference
"""

from __future__ import annotations

import difflib
import inspect
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from nimify import errors
from nimify.errors import NimifyError

_WIDTH: Final = 100
_NOTICE: Final = "<!-- Written by `make docs`; do not edit. -->\n"


def pages() -> dict[str, str]:
    """Every page by file name."""
    return {name: f"{_NOTICE}\n{write().rstrip()}\n" for name, write in _PAGES.items()}


def main(arguments: Sequence[str]) -> int:
    """Write the pages into a folder, or with `--check` print how it differs.

    Returns:
        1 when `--check` found a difference, 2 when the arguments are wrong, otherwise 0.
    """
    folders = [argument for argument in arguments if argument != "--check"]
    if len(folders) != 1:
        sys.stderr.write("Usage: python -m nimify.testing.reference [--check] DIR\n")
        return 2
    folder = Path(folders[0])
    if "--check" in arguments:
        difference = "".join(_differences(folder))
        sys.stdout.write(difference)
        return 1 if difference else 0
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


def _differences(folder: Path) -> Iterator[str]:
    for name, text in pages().items():
        path = folder / name
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        yield from difflib.unified_diff(
            old.splitlines(keepends=True), text.splitlines(keepends=True), f"{folder.name}/{name}", f"generated/{name}"
        )


def _cli() -> str:
    """The help of every command. The program is asked for it: this package knows neither Click nor the commands."""
    first = _help()
    names = [line.split()[0] for line in first.partition("Commands:\n")[2].splitlines() if line.startswith("  ")]
    commands = [line for line in names if _is_command(line, first)]
    parts = ["# The command line", "", "```text", first, "```"]
    for name in commands:
        parts += ["", f"## nimify {name}", "", "```text", _help(name), "```"]
    return "\n".join([*parts, "", *_exit_codes()])


def _is_command(name: str, text: str) -> bool:
    return any(line.startswith(f"  {name}  ") for line in text.splitlines())


def _help(*command: str) -> str:
    environment = {**os.environ, "COLUMNS": str(_WIDTH), "NO_COLOR": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "nimify", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return result.stdout.rstrip()


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes"
    yield ""
    yield "| code | meaning |"
    yield "|---:|---|"
    rows = {
        0: "Done.",
        **{kind.exit_code: f"`{kind.__name__}`: {_first_line(kind)}" for kind in _error_kinds()},
        1: "A check that was asked for failed: `create --check` found drift, `validate` a failure, `scan` an issue, "
        "`build` an image that does not prove itself.",
        8: "`serve` stopped, but some requests had not finished when their grace was over.",
        70: "A fault in nimify; `NIMIFY_DEBUG=1` shows the traceback.",
        130: "Interrupted (Ctrl-C).",
        141: "The reader of the output went away (`nimify … | head`).",
        143: "Terminated (SIGTERM) before there was a result.",
    }
    for code, meaning in sorted(rows.items()):
        yield f"| {code} | {meaning} |"
    yield ""
    yield (
        "Results go to standard output, everything else to standard error. With `--json` standard output holds one "
        'JSON document in every case: the result, or `{"error": {"kind", "message", "remedy", "exit_code"}}`. '
        "A mistyped command or option ends with 2, as a wrong setting does."
    )


def _error_kinds() -> list[type[NimifyError]]:
    """The classes that own an exit code: those that give one of their own, not their parent's."""
    classes = (value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, NimifyError))
    return [kind for kind in classes if kind is not NimifyError and "exit_code" in vars(kind)]


def _first_line(kind: type[NimifyError]) -> str:
    return (inspect.getdoc(kind) or "").splitlines()[0]


def _configuration() -> str:
    from nimify.config import ModelConfig

    schema = ModelConfig.model_json_schema()
    lines = [
        "# Settings: nimify.yaml",
        "",
        "Everything is optional; what is left out is decided, and `plan.json` says how and why.",
        "Unknown keys are errors.",
        "The same keys are those of `nimify.ModelConfig`.",
        "",
        "| setting | kind | default | meaning |",
        "|---|---|---|---|",
    ]
    return "\n".join([*lines, *_setting_rows(ModelConfig, schema, schema, "")])


def _setting_rows(model: Any, node: Mapping[str, Any], root: Mapping[str, Any], prefix: str) -> Iterator[str]:
    names = {field.alias or name: name for name, field in model.model_fields.items()}
    meanings = _meanings(model) | (_limit_meanings() if prefix == "limits." else {})
    for name, field in node["properties"].items():
        reference = field.get("$ref", "")
        if reference:
            inner = model.model_fields[name].annotation
            yield from _setting_rows(inner, root["$defs"][reference.rpartition("/")[2]], root, f"{prefix}{name}.")
        else:
            default = "" if field.get("default") is None else f"`{json.dumps(field['default'])}`"
            meaning = meanings.get(names[name], "").replace("|", "\\|")
            yield f"| `{prefix}{name}` | {_kind(field)} | {default} | {meaning} |"


def _kind(field: Mapping[str, Any]) -> str:
    options = [option for option in field.get("anyOf", [field]) if option.get("type") != "null"]
    return " or ".join(_bounded(option) for option in options)


def _bounded(option: Mapping[str, Any]) -> str:
    if option.get("type") == "array":
        names = option["items"].get("enum")
        return f"list of {', '.join(f'`{name}`' for name in names)}" if names else f"list of {_items(option)}"
    if "$ref" in option:
        return "mapping"
    low = option.get("minimum", option.get("exclusiveMinimum"))
    high = option.get("maximum")
    kind = {"string": "text", "integer": "whole number"}.get(option.get("type", ""), option.get("type", "any"))
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}"
    if low is not None:
        return f"{kind}, {'more than' if 'exclusiveMinimum' in option else 'at least'} {low}"
    return str(kind)


def _items(option: Mapping[str, Any]) -> str:
    return "collectors" if "CollectorConfig" in str(option["items"].get("$ref", "")) else "processors"


def _meanings(model: Any) -> dict[str, str]:
    """The string below each field, which is its documentation."""
    import ast
    import textwrap

    tree = ast.parse(textwrap.dedent(inspect.getsource(model)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found: dict[str, str] = {}
    for field, text in itertools.pairwise(body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
            found[field.target.id] = " ".join(text.value.value.split())
    return found


def _limit_meanings() -> dict[str, str]:
    """What the service's own limits say of themselves; the settings only override them."""
    from nimify.serving.spec import Limits

    lines = [line.strip() for line in (Limits.__doc__ or "").splitlines()]
    rows = (line.partition(": ") for line in lines)
    return {name: meaning for name, colon, meaning in rows if colon and name in Limits.__dataclass_fields__}


def _metrics() -> str:
    from nimify.metrics import catalog

    metrics = [value for value in vars(catalog).values() if isinstance(value, catalog.Metric)]
    lines = [
        "# Metrics",
        "",
        "Served by `/v1/metrics` in the Prometheus text format.",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    rows = [
        f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} "
        f"| {metric.help.replace('|', chr(92) + '|')} |"
        for metric in sorted(metrics, key=lambda metric: metric.name)
    ]
    return "\n".join([*lines, *rows])


_PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "cli.md": _cli,
    "configuration.md": _configuration,
    "metrics.md": _metrics,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
