"""From the steps of a plan to processors: found by name or in a file of the bundle, and called with their options."""

from __future__ import annotations

import difflib
import hashlib
import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from nimify.errors import ConfigError, PluginError
from nimify.plugins import PROCESSORS, find
from nimify.serving.processors.processor import Processor, ProcessorFactory, file_options
from nimify.serving.processors.user_code import user_code
from nimify.serving.spec import ProcessorStep


def load_steps(steps: Sequence[ProcessorStep], root: Path) -> list[Processor]:
    """Make the processors of a pipeline's side, in order.

    Args:
        steps: What to load.
        root: The folder that files named by steps are relative to, and may not leave: the bundle.

    Raises:
        ConfigError: An option is unknown, missing or wrong, or a file lies outside `root`.
        PluginError: There is no such processor, or its code fails; names file and line.
    """
    return [_load(step, root) for step in steps]


def load_factory(use: str, root: Path) -> ProcessorFactory:
    """The factory that a step names: an entry point of `nimify.processors`, or `file.py:name` under `root`.

    Raises:
        ConfigError: The file lies outside `root`.
        PluginError: There is no such processor, or its code fails.
    """
    file = own_file(use)
    if file is None:
        factory: ProcessorFactory = find(PROCESSORS, use).load()
        return factory
    return _from_file(confined(root, file, field=use), use.rpartition(":")[2])


def own_file(use: str) -> str | None:
    """The file part of `file.py:name`; `None` when a step names an entry point."""
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


def _load(step: ProcessorStep, root: Path) -> Processor:
    factory = load_factory(step.use, root)
    if not callable(factory):
        raise PluginError(f"The processor '{step.use}' is a {type(factory).__name__}, not a class or a function.")
    options = dict(step.options)
    _check_options(step.use, factory, options)
    for option in sorted(file_options(factory)):
        if options.get(option) is not None:
            options[option] = str(confined(root, str(options[option]), field=f"{step.use}.{option}"))
    with user_code(f"The processor '{step.use}'", source_file(factory)):
        processor = factory(**options)
    for method in ("__call__", "outer"):
        if not callable(getattr(processor, method, None)):
            raise PluginError(
                f"The processor '{step.use}' made a {type(processor).__name__}, which has no method {method}.",
                remedy="See docs/extending/processors.md.",
            )
    return processor


def _check_options(use: str, factory: ProcessorFactory, options: dict[str, Any]) -> None:
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


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Compiles a file afresh: a bundle is never written to while it is served, and no stale bytecode is run."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _from_file(path: Path, name: str) -> ProcessorFactory:
    module = _import(path)
    factory = getattr(module, name, None)
    if factory is not None:
        return factory  # type: ignore[no-any-return]  # whatever a user's file holds; checked when it is called
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


def _import(path: Path) -> ModuleType:
    # A private name of its own: two bundles may both have a `processors.py`, and neither may hide a real module.
    name = f"_nimify_processor_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
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
