"""Does Docker Compose take compose.yaml?"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.compose import COMPOSE_FILE
from nimify.conformance.readers import Answer, NoAnswer, Reader, reason
from nimify.conformance.report import CheckResult, failed, passed, skipped, warned
from nimify.conformance.staging import staged
from nimify.conformance.yaml_documents import first_key, yaml_documents
from nimify.errors import one_line, shortened

_NAME: Final = "compose"
_DOCKER: Final = Reader("docker", "Install Docker with its Compose plugin, version 2 or newer.")
_ELSEWHERE: Final = frozenset({"include", "extends", "env_file", "label_file", "file", "develop"})
"""Keys that make Compose read other files, or fetch them; nimify writes none of them."""
_REGENERATE: Final = "Write it again with: nimify create MODEL --force"
_PLUGINS: Final = "cli-plugins"


def check_compose_file(bundle: Bundle) -> CheckResult | None:
    """Let Docker Compose read the project; it asks no daemon for that. `None`: the bundle has none."""
    if COMPOSE_FILE not in bundle.manifest.files:
        return None
    if _DOCKER.path is None:
        return _DOCKER.missing(_NAME, COMPOSE_FILE)
    with staged(bundle.path, COMPOSE_FILE) as folder, tempfile.TemporaryDirectory(prefix="nimify-docker-") as settings:
        docker = _docker(Path(settings))
        try:
            project = yaml_documents((folder / COMPOSE_FILE).read_text(encoding="utf-8"))
        except ValueError as error:
            return failed(_NAME, f"{COMPOSE_FILE} cannot be read: {shortened(one_line(str(error)), 240)}.", _REGENERATE)
        elsewhere = first_key(project, lambda key, _: key in _ELSEWHERE)
        if elsewhere:
            return warned(_NAME, f"{COMPOSE_FILE} was not read: it has '{elsewhere}', which leads to other files.")
        return _read(docker, folder)


def _read(docker: Reader, folder: Path) -> CheckResult:
    try:
        if docker.ask("compose", "version", folder=folder).code:
            return skipped(_NAME, f"{COMPOSE_FILE} was not read, because docker has no compose.", docker.install)
        answer: Answer = docker.ask("compose", "--file", COMPOSE_FILE, "config", "--quiet", folder=folder)
    except NoAnswer as error:
        return failed(_NAME, str(error))
    if answer.code:
        return failed(_NAME, f"docker compose refuses {COMPOSE_FILE}: {reason(answer)}")
    return passed(_NAME, f"docker compose takes {COMPOSE_FILE}.")


def _docker(settings: Path) -> Reader:
    """Docker with settings of its own, except for where this user has its plugins."""
    home, own = os.environ.get("HOME"), os.environ.get("DOCKER_CONFIG")
    folders = [str(Path(folder, _PLUGINS)) for folder in (own, home and f"{home}/.docker") if folder]
    (settings / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": folders}))
    return Reader(_DOCKER.name, _DOCKER.install, environment={"DOCKER_CONFIG": os.fspath(settings)})
