"""This machine's way to packages, for the build alone: as secrets, which no layer holds.

An index behind a proxy or with a password is set up for pip on the machine; a build must be able to use it, and the
image must not remember it.
"""

from __future__ import annotations

import configparser
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nimify.errors import ConfigError

PIP_CONFIG: Final = "pip.conf"
AUTHORITIES: Final = "ca.pem"
_SETTINGS: Final = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
"""What of pip's settings has a meaning inside a build; paths of this machine have none."""
_AUTHORITY_VARIABLES: Final = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_SYSTEM_AUTHORITIES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
)


@contextmanager
def package_secrets(environment: Mapping[str, str]) -> Iterator[dict[str, Path]]:
    """Files for as long as a build lasts, by the names that container/prepare.py knows.

    Raises:
        ConfigError: pip's settings on this machine cannot be read.
    """
    settings = _pip_settings(environment)
    with tempfile.TemporaryDirectory(prefix="nimify-build-") as folder:
        secrets: dict[str, Path] = {}
        if settings:
            secrets[PIP_CONFIG] = _written(Path(folder) / PIP_CONFIG, settings)
        if (authorities := _authorities(environment)) is not None:
            secrets[AUTHORITIES] = authorities
        yield secrets


def _pip_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that pip would use here: of its files, then of its variables."""
    parser = configparser.RawConfigParser()
    try:
        parser.read(_config_files(environment), encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ConfigError("pip's settings on this machine cannot be read.", field="pip.conf") from error
    found: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            found.update({name: value for name, value in parser.items(section) if name in _SETTINGS})
    for name in _SETTINGS:
        if value := environment.get(f"PIP_{name.upper().replace('-', '_')}", "").strip():
            found[name] = value
    return found


def _config_files(environment: Mapping[str, str]) -> list[Path]:
    own = environment.get("PIP_CONFIG_FILE", "").strip()
    if own == os.devnull:
        return []
    home = Path(environment.get("HOME", "/"))
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    usual = [Path("/etc/pip.conf"), home / ".pip/pip.conf", config / "pip/pip.conf"]
    return [*usual, *([Path(own)] if own else [])]


def _written(path: Path, settings: Mapping[str, str]) -> Path:
    lines = ["[global]", *(f"{name} = {' '.join(value.split())}" for name, value in sorted(settings.items())), ""]
    path.touch(mode=0o600)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _authorities(environment: Mapping[str, str]) -> Path | None:
    named = [environment.get(variable, "").strip() for variable in _AUTHORITY_VARIABLES]
    for text in [*named, *_SYSTEM_AUTHORITIES]:
        if text and Path(text).is_file():
            return Path(text)
    return None
