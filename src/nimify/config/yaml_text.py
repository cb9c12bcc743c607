"""YAML without its traps, read and written."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import yaml

from nimify.errors import ConfigError

_MAX_CONFIG_BYTES: Final = 1 << 20


def read_yaml(path: Path) -> Any:
    """Plain data from a YAML file, with duplicate keys and aliases refused.

    Raises:
        ConfigError: It cannot be read, is too large, or is not plain YAML.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror}).", field=str(path)) from error
    if len(text) > _MAX_CONFIG_BYTES:
        raise ConfigError(f"is larger than {_MAX_CONFIG_BYTES} bytes.", field=str(path))
    return parse_yaml(text, source=str(path))


def parse_yaml(text: str | bytes, *, source: str) -> Any:
    """Plain data from YAML text; see `read_yaml`.

    Args:
        text: The text.
        source: Where it comes from, for messages.

    Raises:
        ConfigError: It is not plain YAML.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader, made stricter
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        parts = (getattr(error, "context", None), getattr(error, "problem", None))
        problem = ", ".join(part for part in parts if part) or "is not valid YAML"
        line = f" (line {where.line + 1})" if where is not None else ""
        raise ConfigError(f"{problem}{line}.", field=source) from None


def without_key(text: str, key: str) -> str:
    """YAML text without one key of its mapping, every other line as it is; the text itself when it is not there.

    The key must begin a line, as it does in block style, and what belongs to it goes with it: the comments between its
    lines, but not those behind its last one.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return text
    for name, value in root.value:
        if name.value == key and not name.start_mark.column:
            lines = text.splitlines(keepends=True)
            return "".join((*lines[: name.start_mark.line], *lines[_last_line(value) + 1 :]))
    return text


def _last_line(node: yaml.Node) -> int:
    """The line of the last thing in a node; its end mark may lie behind the comments that follow."""
    if isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        pairs = node.value if isinstance(node, yaml.MappingNode) else [(item,) for item in node.value]
        return max(_last_line(part) for pair in pairs for part in pair)
    return int(node.end_mark.line) - (node.end_mark.column == 0 and node.end_mark.line > node.start_mark.line)


class _StrictLoader(yaml.SafeLoader):
    """YAML without the traps: a key given twice is an error, and so is an alias (the way to a billion laughs)."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs stop here
            raise yaml.composer.ComposerError(None, None, "aliases are not supported", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # refused by PyYAML itself
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


class StrictDumper(yaml.SafeDumper):
    """Writes what `_StrictLoader` reads: text that looks like a number to it is quoted."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Text, quoted where it would be read back as something else."""
        # Left to itself, PyYAML writes Unicode's rare line ends as they are, and reads all of them as "\n".
        style = '"' if {"\r", "\x85", "\u2028", "\u2029"} & set(data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


StrictDumper.add_representer(str, StrictDumper.represent_str)

for _yaml_type in (_StrictLoader, StrictDumper):
    # YAML 1.1, as PyYAML has it, takes `1e-3` for text; everybody else takes it for a number.
    _yaml_type.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
    )
