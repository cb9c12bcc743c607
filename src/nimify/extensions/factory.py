"""From a name and options to an object: the factory that the name stands for is called with the options.

The name is that of an entry point, or `file.py:name` for the owner's own. Options are checked against what the factory
takes before it is called, so a mistyped one is an error that names it.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nimify.errors import ConfigError, PluginError
from nimify.extensions.source import confined, named_in, own_file, source_file
from nimify.extensions.user_code import user_code
from nimify.plugins import find


def load_factory(group: str, use: str, root: Path) -> Callable[..., Any]:
    """The factory that `use` names: an entry point of the group, or `file.py:name` under `root`.

    Raises:
        ConfigError: The file lies outside `root`.
        PluginError: There is no such extension, or its code fails.
    """
    file = own_file(use)
    if file is None:
        factory: Callable[..., Any] = find(group, use).load()
        return factory
    found: Callable[..., Any] = named_in(confined(root, file, field=use), use.rpartition(":")[2])
    return found


def file_options(factory: object) -> frozenset[str]:
    """Which options of a factory name files (its attribute `file_options`); these are copied into the bundle."""
    return frozenset(getattr(factory, "file_options", ()))


def make(what: str, use: str, factory: object, given: Mapping[str, Any], root: Path) -> Any:
    """Call a factory with the options that were given, the files among them as absolute paths.

    Args:
        what: What it makes, in the words of messages, e.g. `processor`.
        use: What names it.
        factory: As `load_factory` found it, which may be anything.
        given: The options.
        root: The folder that files are relative to, and may not leave.

    Raises:
        ConfigError: An option is unknown, missing or wrong, or a file lies outside `root`.
        PluginError: It is no factory, or its code fails; names file and line.
    """
    if not callable(factory):
        raise PluginError(f"The {what} '{use}' is a {type(factory).__name__}, not a class or a function.")
    options = dict(given)
    _check_options(use, factory, options)
    for option in sorted(file_options(factory)):
        if options.get(option) is not None:
            options[option] = str(confined(root, str(options[option]), field=f"{use}.{option}"))
    with user_code(f"The {what} '{use}'", source_file(factory)):
        return factory(**options)


def _check_options(use: str, factory: Callable[..., Any], options: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # a callable written in C need not have one; it speaks for itself when called
        return
    known = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind in {parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD}
    ]
    try:
        signature.bind(**options)
    except TypeError:
        raise _option_error(use, signature, known, options) from None


def _option_error(use: str, signature: inspect.Signature, known: list[str], options: dict[str, Any]) -> ConfigError:
    choices = f"Known: {', '.join(known) or 'none'}."
    for option in options:
        if option not in known:
            close = difflib.get_close_matches(option, known, n=1)
            hint = f"Did you mean '{close[0]}'? " if close else ""
            return ConfigError("there is no such option.", field=f"{use}.{option}", remedy=hint + choices)
    empty = inspect.Parameter.empty
    missing = [name for name in known if name not in options and signature.parameters[name].default is empty]
    return ConfigError(f"the option '{', '.join(missing)}' must be given.", field=use, remedy=choices)
