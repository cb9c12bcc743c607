"""container/: Dockerfiles that linters accept, and that no word of a model or an owner can change."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nimify.analysis.tables.releases import load_triton_releases
from nimify.artifacts.artifact import Artifact
from nimify.artifacts.container.container import FAMILIES, dockerfile, triton_tag
from nimify.artifacts.container.labels import label_lines, quoted
from nimify.artifacts.render import render
from nimify.config import ModelConfig
from nimify.errors import one_line
from nimify.planning.planner import plan
from nimify.tensors import DATATYPES, Signature, TensorSpec

Prepare = Callable[..., Any]
ROOT = Path(__file__).parents[3]
HOSTILE = [
    "x\nRUN touch /pwned",
    'x"\nUSER root\nLABEL y="',
    "x\\",
    'x\\"',
    "x \\\nFROM scratch",
    "$(id) ${PATH} $HOME `id`",
    "x\r\nENTRYPOINT []",
    "x\u2028RUN y\x85RUN z\x0bRUN",
    "\u202exof",
    "a\x00b",
    "<<EOF\nRUN x\nEOF",
    "# syntax=evil/frontend\n",
    "{{ .Values.x }} {% raw %}",
    "@NAME@ @LABELS@ @TRITON@",
    "'; rm -rf / #",
    "ключ 🔑",
    "x" * 5000,
]


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile as BuildKit splits them: keyword and rest, continued lines joined."""
    lines = [line for line in text.split("\n") if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\[ \t]*\n", "", "\n".join(lines))
    parts = [line.strip().partition(" ") for line in joined.split("\n") if line.strip()]
    return [(keyword.upper(), rest.strip()) for keyword, _, rest in parts]


def rendered(prepare: Prepare, words: str, family: str) -> str:
    """A Dockerfile of a service whose every free word is hostile, tensor names of the model included."""
    prepared = prepare("tiny")
    tensor = TensorSpec(words, DATATYPES["FP32"], (words, 4))
    signature = Signature(inputs=(tensor,), outputs=(tensor,))
    model = replace(prepared.analysis.model, signature=signature, producer=words, metadata={words: words})
    analysis = replace(prepared.analysis, model=model, golden=())
    config = ModelConfig.build({"description": words, "license": {"name": words, "content": words}})
    items = render(plan(analysis, config), config, analysis)
    files = {item.path: item.content for item in items if isinstance(item, Artifact)}
    return files[f"container/Dockerfile.{family}"].decode()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("words", HOSTILE)
def test_no_word_changes_the_instructions(words: str, family: str, prepare: Prepare) -> None:
    """The same instructions in the same order, and only the labels differ."""
    harmless = instructions(rendered(prepare, "harmless", family))
    found = instructions(rendered(prepare, words, family))
    assert [keyword for keyword, _ in found] == [keyword for keyword, _ in harmless]
    assert [rest for keyword, rest in found if keyword != "LABEL"] == [
        rest for keyword, rest in harmless if keyword != "LABEL"
    ]


@pytest.mark.parametrize("words", HOSTILE)
def test_a_label_is_one_value_whatever_it_says(words: str) -> None:
    """Read as a shell reads quotes, which is how builders read them, it is the word on one line."""
    line = label_lines({"a.b": words, "c": "d"})
    pairs = shlex.split(line.removeprefix("LABEL ").replace("\\\n", "").replace("\\$", "$"))
    assert pairs == [f"a.b={one_line(words[:1023] + '…' if len(words) > 1024 else words)}", "c=d"]


def test_quotes_escape_what_means_something_between_them() -> None:
    """Quotes, backslashes and variables."""
    assert quoted('a"b\\c$d') == '"a\\"b\\\\c\\$d"'


def test_a_key_of_a_label_is_checked() -> None:
    """Keys are ours; one that is none is a fault, not a file."""
    with pytest.raises(ValueError, match="no key"):
        label_lines({"a b": "c"})


@pytest.mark.parametrize("family", FAMILIES)
def test_hadolint_finds_nothing(family: str, prepare: Prepare, tmp_path: Path) -> None:
    """No rule is left out."""
    path = tmp_path / "Dockerfile"
    path.write_text(dockerfile(prepare("tiny").plan, family, openapi=b"{}", own_processors=True))
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_stage_is_locked_down(family: str, prepare: Prepare) -> None:
    """Stages from one base, a numeric user, exec forms, no frontend to fetch, and the weights last."""
    text = dockerfile(prepare("tiny").plan, family, openapi=b"{}")
    found = instructions(text)
    assert "syntax=" not in text
    assert "@" not in text
    assert {rest.partition(" ")[0] for keyword, rest in found if keyword == "FROM"} == {"${BASE}"}
    last = found[max(place for place, (keyword, _) in enumerate(found) if keyword == "FROM") :]
    single = {keyword: rest for keyword, rest in last if keyword in {"USER", "ENTRYPOINT", "STOPSIGNAL", "HEALTHCHECK"}}
    assert single["USER"] == "1000:2000"
    assert json.loads(single["ENTRYPOINT"]) == ["python3", "-m", "nimify.serving"]
    assert json.loads(single["HEALTHCHECK"].partition("CMD ")[2]) == ["python3", "-m", "nimify.serving.probe"]
    assert [rest for keyword, rest in last if keyword == "COPY"][-1] == "--from=model /out/ /"
    assert not any(keyword == "ADD" for keyword, _ in found)


def test_own_processors_go_along(prepare: Prepare) -> None:
    """Only where there are some: an engine refuses to copy what is not there."""
    plan = prepare("tiny").plan
    line = ("COPY", "processors/ /out/opt/nim/bundle/processors/")
    assert line in instructions(dockerfile(plan, "cpu", openapi=b"", own_processors=True))
    assert line not in instructions(dockerfile(plan, "cpu", openapi=b""))


def test_triton_s_base_comes_from_the_table() -> None:
    """The newest release whose contents are known, and none that was guessed."""
    release = next(release for release in load_triton_releases().releases if release.tag == triton_tag())
    assert release.trust == "source"
    assert release.onnxruntime is not None


def test_the_lock_is_of_the_service_alone() -> None:
    """Every package of the group and what it needs, hashed; nothing of the build side."""
    lock = (ROOT / "src/nimify/artifacts/container/requirements.txt").read_text()
    locked = set(re.findall(r"(?m)^([a-z0-9-]+)==", lock))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    group = project["dependency-groups"]["serving"]
    names = {re.split(r"[>=<;~ ]", entry)[0] for entry in group}
    assert names <= locked
    extras = project["project"]["optional-dependencies"]
    known = {*project["project"]["dependencies"], *extras["sign"], *extras["otel"]}
    assert set(group) <= known
    assert not locked & {"click", "pydantic", "onnx", "pyyaml", "sympy", "pip"}
    assert len(re.findall(r"(?m)^[a-z0-9-]+==", lock)) <= len(re.findall("--hash=sha256:", lock))


def test_the_lock_agrees_with_what_is_tested() -> None:
    """The versions in images are those that the tests of the service run with."""
    pins = re.compile(r"(?m)^([a-z0-9-]+)==([^ ;\\]+)")
    dev = pins.findall((ROOT / "requirements/dev.txt").read_text())
    image = pins.findall((ROOT / "src/nimify/artifacts/container/requirements.txt").read_text())
    known = {name for name, _ in dev}
    assert [pin for pin in image if pin[0] in known and pin not in dev] == []
