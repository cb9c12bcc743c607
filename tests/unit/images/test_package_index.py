"""This machine's way to packages, as secrets of a build."""

from __future__ import annotations

from pathlib import Path

import pytest

from nimify.errors import ConfigError
from nimify.images.package_index import package_secrets


def test_pip_s_settings_become_one_file_that_only_we_may_read(tmp_path: Path) -> None:
    """Its files first, then its variables, as pip has it; paths of this machine are left out."""
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://user:word@a.example/simple\nfind-links = /opt/wheels\ntimeout = 7\n"
    )
    environment = {"PIP_CONFIG_FILE": str(config), "HOME": str(tmp_path), "PIP_TIMEOUT": "9"}
    with package_secrets(environment) as secrets:
        written = secrets["pip.conf"]
        lines = written.read_text().splitlines()
        assert written.stat().st_mode & 0o777 == 0o600
    assert "index-url = https://user:word@a.example/simple" in lines
    assert "timeout = 9" in lines
    assert not any("find-links" in line for line in lines)
    assert not written.exists()


def test_authorities_are_those_that_pip_would_use(tmp_path: Path) -> None:
    """A bundle of a company's own goes along."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificates")
    with package_secrets({"PIP_CERT": str(bundle), "HOME": str(tmp_path)}) as secrets:
        assert secrets["ca.pem"] == bundle


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """A broken file is not passed over."""
    (tmp_path / "pip.conf").write_text("no section\n")
    with (
        pytest.raises(ConfigError, match=r"pip\.conf"),
        package_secrets({"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "HOME": str(tmp_path)}),
    ):
        pass
