"""`nimify.yaml`: what is asked for is understood exactly, or refused with the line and the fix."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nimify.config import (
    MAX_NAME_LENGTH,
    BatchingConfig,
    GoldenConfig,
    LicenseConfig,
    LimitsConfig,
    ModelConfig,
    PipelineConfig,
    StepConfig,
    read_yaml,
    service_name,
)
from nimify.errors import ConfigError


def load(folder: Path, text: str | bytes) -> ModelConfig:
    path = folder / "nimify.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ModelConfig.load(path)


def refused(folder: Path, text: str | bytes) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    assert str(caught.value).isprintable()
    assert "nimify.yaml" in caught.value.message
    return caught.value


COMPLETE = """
name: digits
version: 2.1.0-rc.1
description: |
  Reads digits.
license: {name: Apache-2.0, url: "https://example.org", content: text}
batching:
  max_batch_size: 16
  max_queue_delay_us: 200
threads: 2
pipeline:
  before:
    - scale: {factor: 0.0625}
  after:
    - softmax
    - use: top_k
      options: {k: 3, labels: labels.txt}
limits: {max_body_bytes: 4096, drain_s: 0, request_timeout_s: 2.5}
golden: {seed: 7, sample: mine.npz, rtol: 1e-3, atol: 1.0e-5}
"""


def test_a_complete_file_is_understood(tmp_path: Path) -> None:
    """Every section, with short and long forms of a processor."""
    assert load(tmp_path, COMPLETE) == ModelConfig(
        name="digits",
        version="2.1.0-rc.1",
        description="Reads digits.\n",
        license=LicenseConfig(name="Apache-2.0", url="https://example.org", content="text"),
        batching=BatchingConfig(max_batch_size=16, max_queue_delay_us=200),
        threads=2,
        pipeline=PipelineConfig(
            before=(StepConfig(use="scale", options={"factor": 0.0625}),),
            after=(StepConfig(use="softmax"), StepConfig(use="top_k", options={"k": 3, "labels": "labels.txt"})),
        ),
        limits=LimitsConfig(max_body_bytes=4096, drain_s=0.0, request_timeout_s=2.5),
        golden=GoldenConfig(seed=7, sample="mine.npz", rtol=0.001, atol=0.00001),
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null", "{}"])
def test_an_empty_file_asks_for_nothing(tmp_path: Path, text: str) -> None:
    """Everything is decided in planning."""
    assert load(tmp_path, text) == ModelConfig()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("threads: 1\nthreads: 2\n", "key 'threads' is given twice (line 2)"),
        ("limits: {drain_s: 1, drain_s: 2}", "key 'drain_s' is given twice (line 1)"),
        ("license: &l {name: x}\ngolden: *l\n", "aliases are not supported (line 2)"),
        ("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "aliases are not supported (line 2)"),
        ("name: !!python/object/apply:os.system [id]", "python/object/apply:os.system"),
        ("name: !!python/name:os.system", "python/name:os.system"),
        ("name: !mine x", "tag '!mine'"),
        ("<<: {threads: 1}", "tag:yaml.org,2002:merge"),
        ("limits:\n\tdrain_s: 1\n", "cannot start any token (line 2)"),
        ("\tthreads: 1", "cannot start any token (line 1)"),
        ("name: x\n---\nname: y\n", "another document (line 2)"),
        ("name: 'x", "(line 1)"),
        ("{", "(line 1)"),
        ("name: x: y", "(line 1)"),
        ("threads: \0", "not valid YAML"),
        (b"name: \xff", "not valid YAML"),
        ("[" * 20_000, "not valid YAML"),
        ("a: " + "{a: " * 2_000, "not valid YAML"),
        ("? [a]\n: x", "unhashable key (line 1)"),
        ("? {a: b}\n: x", "unhashable key (line 1)"),
        ("#" * (2**20 + 1), "larger than 1048576 bytes"),
    ],
    ids=lambda text: repr(text[:30]),
)
def test_what_is_no_plain_yaml_is_refused(tmp_path: Path, text: str | bytes, says: str) -> None:
    """With the line, where the parser knows it, and without a traceback."""
    assert says in refused(tmp_path, text).message


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        ("nme: x", "nme", "Did you mean 'name'?"),
        ("batch: {}", "batch", "Did you mean 'batching'?"),
        ("limits: {max_body_byte: 5000}", "limits.max_body_byte", "Did you mean 'max_body_bytes'?"),
        ("licence: {}", "licence", "Did you mean 'license'?"),
        ("license: {nme: x}", "license.nme", "Did you mean 'name'?"),
        ("pipeline: {befor: []}", "pipeline.befor", "Did you mean 'before'?"),
        ("pipeline: {after: [{use: x, option: {}}]}", "pipeline.after.0.option", "Did you mean 'options'?"),
        ("zzz: 1", "zzz", "Known: batching, collectors, deployment, description, golden"),
        ("golden: {zzz: 1}", "golden.zzz", "Known: atol, rtol, sample, seed."),
        ("1: x", "1", "names are text"),
    ],
)
def test_an_unknown_setting_gets_a_suggestion(tmp_path: Path, text: str, field: str, says: str) -> None:
    """Never ignored: a setting that does nothing is worse than an error."""
    error = refused(tmp_path, text)
    assert error.field == f"nimify.yaml: {field}"
    assert says in str(error)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("name: no", "name"),
        ("name: 123", "name"),
        ("version: 1.0", "version"),
        ("version: 1e3", "version"),
        ("description: off", "description"),
    ],
)
def test_text_that_yaml_takes_for_something_else_is_asked_for_in_quotes(tmp_path: Path, text: str, field: str) -> None:
    """Norway's `no`, a version like a number."""
    error = refused(tmp_path, text)
    assert error.field == f"nimify.yaml: {field}"
    assert error.remedy == "Put the value in quotes."
    assert ModelConfig.build({"description": "no"}) == load(tmp_path, "description: 'no'")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("threads: yes", "threads"),
        ("threads: '4'", "threads"),
        ("threads: 4.5", "threads"),
        ("threads: 0", "threads"),
        ("threads: -1", "threads"),
        ("threads: 1e3", "threads"),
        ("threads: 0o17", "threads"),
        ("threads: [1]", "threads"),
        ("threads: 99999999999999999999", "threads"),
        ("batching: {max_batch_size: off}", "batching.max_batch_size"),
        ("batching: {max_batch_size: 65537}", "batching.max_batch_size"),
        ("batching: {max_queue_delay_us: -1}", "batching.max_queue_delay_us"),
        ("limits: {max_body_bytes: 10mb}", "limits.max_body_bytes"),
        ("limits: {max_body_bytes: 1Gi}", "limits.max_body_bytes"),
        ("limits: {max_connections: 0}", "limits.max_connections"),
        ("limits: {drain_s: .nan}", "limits.drain_s"),
        ("limits: {drain_s: .inf}", "limits.drain_s"),
        ("limits: {drain_s: on}", "limits.drain_s"),
        ("limits: {body_timeout_s: 0}", "limits.body_timeout_s"),
        ("limits: {body_timeout_s: 1:30:00 h}", "limits.body_timeout_s"),
        ("golden: {rtol: -0.1}", "golden.rtol"),
        ("golden: {rtol: .nan}", "golden.rtol"),
        ("golden: {seed: 4294967296}", "golden.seed"),
        ("golden: {sample: [a]}", "golden.sample"),
        ("license: Apache-2.0", "license"),
        ("limits: 5", "limits"),
        ("pipeline: {before: softmax}", "pipeline.before"),
        ("pipeline: {before: [3]}", "pipeline.before.0"),
        ("pipeline: {before: [null]}", "pipeline.before.0"),
        ("pipeline: {after: [{top_k: 3}]}", "pipeline.after.0.options"),
        ("pipeline: {after: [{top_k: 0}]}", "pipeline.after.0.options"),
        ("pipeline: {after: [{a: {}, b: {}}]}", "pipeline.after.0.use"),
        ("pipeline: {after: [{top_k: {k: 2024-01-01}}]}", "pipeline.after.0.options"),
        ("pipeline: {after: [{top_k: {k: .nan}}]}", "pipeline.after.0.options"),
        ("pipeline: {after: [{top_k: {k: [!!binary aGk=]}}]}", "pipeline.after.0.options"),
        ("pipeline: {after: [{top_k: {k: !!set {a, b}}}]}", "pipeline.after.0.options"),
        ('version: "1.0\\n"', "version"),
        ('version: "-1"', "version"),
        ("version: ''", "version"),
        ("- name", "the document"),
        ("just text", "the document"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(tmp_path: Path, text: str, field: str) -> None:
    """Nothing is converted: a boolean is no number, text is no number, a number is no size with a unit."""
    error = refused(tmp_path, text)
    assert error.field == f"nimify.yaml: {field}"
    assert "Config" not in error.message  # the names of our classes mean nothing to the reader


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Digits", "'digits'"),
        ("my model_v2", "'my-model-v2'"),
        ("-x-", "'x'"),
        ("", "'model'"),
        ("é", "'model'"),
        ("a" * 54, f"'{'a' * 53}'"),
        ("a\n", "'a'"),
        ("../x", "'x'"),
    ],
)
def test_a_wrong_name_gets_one_that_would_do(name: str, hint: str) -> None:
    """And that one is taken."""
    with pytest.raises(ConfigError) as caught:
        ModelConfig.build({"name": name})
    assert f"; {hint} would do" in caught.value.message
    assert ModelConfig.build({"name": hint.strip("'")}).name == hint.strip("'")


@given(st.text())
def test_any_text_makes_a_service_name(text: str) -> None:
    """A valid one, and a valid one stays as it is."""
    name = service_name(text)
    assert ModelConfig(name=name).name == name
    assert service_name(name) == name
    assert len(name) <= MAX_NAME_LENGTH


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a" * 53])
def test_names_up_to_the_limit_are_taken(name: str) -> None:
    """One character, and Helm's 53."""
    assert ModelConfig(name=name).name == name


VALID_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | VALID_TEXT,
    lambda children: st.lists(children, max_size=2) | st.dictionaries(VALID_TEXT, children, max_size=2),
    max_leaves=3,
)
STEPS = st.lists(
    st.builds(
        StepConfig,
        use=VALID_TEXT.filter(lambda use: use != "use"),
        options=st.dictionaries(VALID_TEXT, JSON_VALUES, max_size=2),
    ),
    max_size=2,
).map(tuple)
CONFIGS = st.builds(
    ModelConfig,
    name=st.none() | VALID_TEXT.map(service_name),
    version=st.from_regex(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,8}", fullmatch=True),
    description=VALID_TEXT,
    license=st.builds(LicenseConfig, name=VALID_TEXT, url=VALID_TEXT, content=VALID_TEXT),
    batching=st.builds(BatchingConfig, max_batch_size=st.none() | st.integers(0, 65536)),
    threads=st.none() | st.integers(1, 1024),
    pipeline=st.builds(PipelineConfig, before=STEPS, after=STEPS),
    limits=st.builds(
        LimitsConfig, request_timeout_s=st.floats(1e-300, 86_400), drain_s=st.none() | st.floats(0, 86_400)
    ),
    golden=st.builds(GoldenConfig, seed=st.integers(0, 2**32 - 1), rtol=st.none() | st.floats(0, 1), sample=VALID_TEXT),
)


@settings(max_examples=50, deadline=None)
@given(CONFIGS)
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, config: ModelConfig) -> None:
    """`load(to_yaml(c)) == c`, whatever text and numbers it holds."""
    path = tmp_path_factory.getbasetemp() / "nimify.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8", newline="")
    assert ModelConfig.load(path) == config


@pytest.mark.parametrize("version", ["1e3", "1.0", "0o17", "no", "null", "2024-01-01", "1"])
def test_text_that_looks_like_something_else_survives(tmp_path: Path, version: str) -> None:
    """It is written in quotes."""
    config = ModelConfig(version=version, description=version)
    assert load(tmp_path, config.to_yaml()) == config


def test_a_section_whose_lines_are_all_commented_out_asks_for_nothing(tmp_path: Path) -> None:
    """It reads as null, which means the defaults."""
    assert load(tmp_path, "limits:\n#  drain_s: 1\n") == ModelConfig()


def test_only_what_differs_from_the_defaults_is_written() -> None:
    """In the order of the documentation, with short forms where they say all."""
    assert ModelConfig().to_yaml() == ""
    config = ModelConfig.build({"threads": 2, "name": "x", "pipeline": {"after": ["softmax", {"top_k": {"k": 3}}]}})
    assert config.to_yaml() == "name: x\nthreads: 2\npipeline:\n  after:\n  - softmax\n  - top_k:\n      k: 3\n"


def test_a_large_file_is_read_in_a_time_that_grows_with_its_size(tmp_path: Path) -> None:
    """Looking for duplicate keys does not compare each with each."""
    path = tmp_path / "nimify.yaml"

    def seconds(keys: int) -> float:
        path.write_text("\n".join(f"k{number}: 1" for number in range(keys)))
        started_s = time.process_time()
        assert len(read_yaml(path)) == keys
        return time.process_time() - started_s

    small_s = min(seconds(500) for _ in range(3))
    assert seconds(4000) < 8 * small_s * 4


@pytest.mark.parametrize("kind", ["absent", "folder"])
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, kind: str) -> None:
    """With the path that was asked for."""
    path = tmp_path / "nimify.yaml"
    if kind == "folder":
        path.mkdir()
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        ModelConfig.load(path)
    assert caught.value.field == str(path)


@pytest.mark.parametrize("data", [3, "x", [], {"name": 3}])
def test_plain_data_is_checked_the_same_way(data: Any) -> None:
    """Without a file to name."""
    with pytest.raises(ConfigError) as caught:
        ModelConfig.build(data)
    assert caught.value.field in {"the document", "name"}


def test_a_configuration_does_not_change() -> None:
    """Planning may keep it."""
    config = ModelConfig(name="x")
    with pytest.raises(ValueError, match="frozen"):
        setattr(config, "name", "y")  # noqa: B010 - a type checker would refuse the plain assignment
