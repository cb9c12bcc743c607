"""The owner's own code: one file of the bundle, imported under a name that nothing else has."""

from __future__ import annotations

import difflib
import hashlib
import importlib.machinery
import importlib.util
import inspect
import sys
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from nimify.errors import ConfigError, PluginError
from nimify.extensions.user_code import user_code


def own_file(use: str) -> str | None:
    """The file part of `file.py:name`; `None` when an entry point is named."""
    file, colon, _ = use.rpartition(":")
    return file if colon and file.endswith(".py") else None


def confined(root: Path, relative: str, *, field: str) -> Path:
    """The absolute path of an existing file under `root`, symbolic links followed.

    Raises:
        ConfigError: It lies outside, or is no file.
    """
    base = root.resolve()
    path = (base / relative).resolve()
    if not path.is_relative_to(base):
        raise ConfigError(f"'{relative}' lies outside the bundle.", field=field, remedy="Copy the file into it.")
    if not path.is_file():
        raise ConfigError(f"there is no file '{relative}'.", field=field)
    return path


def source_file(code: object) -> Path | None:
    """The file that a class, function or object was written in, when it can be known."""
    owner = code if inspect.isclass(code) or inspect.isroutine(code) else type(code)
    module = sys.modules.get(getattr(owner, "__module__", ""))
    file = getattr(module, "__file__", None)
    return None if file is None else Path(file)


def named_in(path: Path, name: str) -> Any:
    """What a file of the owner calls `name`; whatever that is.

    Raises:
        PluginError: The file fails when it is imported, or has no such name; lists what it has.
    """
    module = _import(path)
    found = getattr(module, name, None)
    if found is not None:
        return found
    public = [
        key
        for key, value in vars(module).items()
        if callable(value) and not key.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    close = difflib.get_close_matches(name, public, n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    raise PluginError(
        f"'{path.name}' has no '{name}'.", remedy=f"{hint}It has: {', '.join(public) or 'nothing callable'}."
    )


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Compiles a file afresh: a bundle is never written to while it is served, and no stale bytecode is run."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _import(path: Path) -> ModuleType:
    # A private name of its own: two bundles may have files of one name, and neither may hide a real module.
    name = f"_nimify_own_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    loader = _SourceLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None:
        raise PluginError(f"'{path.name}' cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up here
    try:
        with user_code(f"'{path.name}'", path):
            loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
