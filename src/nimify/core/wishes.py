"""How settings from several places become one configuration: options, a settings file, the bundle's own nimify.yaml.

What its owner wrote into a bundle's nimify.yaml is not overruled in silence: who asks for something else is told
both values, and says with `force` that the new one counts. Options overrule a settings file that is named beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nimify.artifacts.settings import SETTINGS_FILE
from nimify.config import ModelConfig, parse_yaml, read_yaml, without_key
from nimify.errors import ConfigError, shortened
from nimify.planning.assets import Asset, collect_assets

_Path = tuple[str, ...]
_LONGEST_VALUE: Final = 80
_OURS: Final = "tuning"
"""A section that nimify writes; its owner's words are those around it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Settings, and where they come from.

    Attributes:
        config: What is asked for.
        root: The folder that its paths are relative to.
    """

    config: ModelConfig
    root: Path


@dataclass(frozen=True, slots=True)
class Settings:
    """What is asked for, taken together.

    Attributes:
        config: The configuration, its files placed in the bundle.
        assets: Those files.
        text: The nimify.yaml that asks for exactly this, its owner's words kept; `None` when it must be written new.
    """

    config: ModelConfig
    assets: tuple[Asset, ...]
    text: str | None = None


def combine(wishes: Sequence[Wish], bundle: Path | None, *, force: bool = False) -> Settings:
    """Make one configuration.

    Args:
        wishes: What is asked for now; a later one overrules an earlier one.
        bundle: The folder whose nimify.yaml is the base; `None` when there is none.
        force: Overrule what the owner wrote.

    Raises:
        ConfigError: A wish contradicts the owner's nimify.yaml, or names a file that does not exist.
        PluginError: A processor cannot be found or imported.
    """
    asked, assets = _gather(wishes)
    settings_file = None if bundle is None else bundle / SETTINGS_FILE
    if bundle is None or settings_file is None or not settings_file.exists():
        return _settings(asked, assets)
    base, base_assets = _gather([Wish(ModelConfig.load(settings_file), bundle)])
    if not force:
        _refuse_contradictions(asked, base)
    combined = _settings(_merged(base, asked), base_assets | assets)
    return Settings(combined.config, combined.assets, _text(settings_file, base, combined.config))


def _gather(wishes: Sequence[Wish]) -> tuple[dict[str, Any], dict[str, Path]]:
    """What the wishes say when taken together, files placed in the bundle; and those files by place."""
    data: dict[str, Any] = {}
    assets: dict[str, Path] = {}
    for wish in wishes:
        placed, files = collect_assets(wish.config, wish.root)
        given = wish.config.model_dump(mode="json", exclude_unset=True)
        data = _merged(data, _selected(placed.model_dump(mode="json"), given))
        assets |= {asset.path: asset.source for asset in files}
    return data, assets


def _settings(data: dict[str, Any], assets: Mapping[str, Path]) -> Settings:
    config = ModelConfig.build(data)
    used = {text for part in ("pipeline", "collectors", "golden") for text in _strings(data.get(part, {}))}
    return Settings(config, tuple(Asset(path, source) for path, source in sorted(assets.items()) if path in used))


def _selected(values: Any, given: Any) -> Any:
    """Those of `values` that are given; lists count as a whole."""
    if isinstance(given, dict) and isinstance(values, dict):
        return {key: _selected(values[key], given[key]) for key in given}
    return values


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _refuse_contradictions(asked: Mapping[str, Any], owner: Mapping[str, Any]) -> None:
    wanted = dict(_leaves(asked))
    for path, value in _leaves(owner):
        if path in wanted and wanted[path] != value:
            raise ConfigError(
                f"{_shown(wanted[path])} is asked for, but {SETTINGS_FILE} says {_shown(value)}.",
                field=".".join(path),
                remedy=f"Change {SETTINGS_FILE} in the bundle, or overrule it with --force.",
            )


def _leaves(data: Mapping[str, Any], path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _shown(value: Any) -> str:
    if isinstance(value, list) and value:
        return shortened(", ".join(str(step["use"]) if isinstance(step, dict) else str(step) for step in value))
    return shortened(repr(value), _LONGEST_VALUE)


def _strings(data: Any) -> Iterator[str]:
    """Every text in the settings, and the file of each `file.py:name`."""
    if isinstance(data, str):
        yield data
        yield data.rpartition(":")[0]
    elif isinstance(data, dict):
        for value in data.values():
            yield from _strings(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _strings(value)


def _text(settings_file: Path, base: dict[str, Any], config: ModelConfig) -> str | None:
    """The owner's text when it says the same, with new settings at its end when that is enough; else `None`."""
    text = settings_file.read_text(encoding="utf-8")
    if ModelConfig.build(base) == config:
        return text
    if _OURS in base and ModelConfig.build({_OURS: base[_OURS]}).tuning != config.tuning:
        text, base = without_key(text, _OURS), {name: value for name, value in base.items() if name != _OURS}
        if ModelConfig.build(base) == config:
            return text
    fields = ModelConfig.model_fields.items()
    new = config.model_copy(update={name: field.default for name, field in fields if (field.alias or name) in base})
    longer = f"{text.rstrip()}\n\n{new.to_yaml()}"
    return longer if _says(longer, settings_file, base, config) else None


def _says(text: str, settings_file: Path, base: dict[str, Any], config: ModelConfig) -> bool:
    """Whether a text asks for a configuration; its old part is known to ask for `base`."""
    try:
        data = parse_yaml(text, source=settings_file.name)
    except ConfigError:
        return False
    old = read_yaml(settings_file) or {}
    return ModelConfig.build({**data, **{name: base[name] for name in old if name in base}}) == config
