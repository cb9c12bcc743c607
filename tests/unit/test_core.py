"""The Python API, as a script or a notebook uses it."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nimify import ModelConfig, Nimifier, NIMService
from nimify.core.server import ServerProcess
from nimify.core.wishes import Wish
from nimify.errors import BundleDamaged, BundleEdited, BundleError, ConfigError, EnvironmentProblem, ModelError
from nimify.testing import models

_LABELS = "".join(f"digit {number}\n" for number in range(10))


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A small model file."""
    return models.save(models.digits_mlp(), tmp_path / "digits.onnx")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that no test changes."""
    folder = tmp_path_factory.mktemp("core")
    model = models.save(models.digits_mlp(), folder / "digits.onnx")
    return Nimifier().create(model, folder / "bundle").folder


def test_create_gives_a_service_that_knows_itself(bundle: Path) -> None:
    """What was created can be asked for name, signature and decisions."""
    service = NIMService.open(bundle)

    assert service.name == "digits"
    assert [spec.name for spec in service.spec.signature.inputs] == ["pixels"]
    assert {decision["key"] for decision in service.decisions} >= {"name", "batching.max_batch_size"}
    assert repr(service) == f"NIMService({str(bundle)!r})"


def test_create_without_output_uses_the_name(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle goes to `./<name>`."""
    monkeypatch.chdir(tmp_path)

    service = Nimifier(ModelConfig(name="my-digits"), trial=False).create(digits)

    assert service.folder == tmp_path / "my-digits"
    assert service.spec.name == "my-digits"


def test_a_service_validates_its_bundle(bundle: Path) -> None:
    """A fresh bundle passes every check."""
    report = NIMService.open(bundle).validate()

    assert not report.failed(strict=True)


def test_what_is_no_bundle_cannot_be_opened(tmp_path: Path) -> None:
    """The error comes when opening, not later."""
    with pytest.raises(BundleDamaged, match="is not a bundle"):
        NIMService.open(tmp_path)


def test_plan_and_draft_write_nothing(digits: Path, tmp_path: Path) -> None:
    """Looking is free."""
    nimifier = Nimifier(trial=False)

    plan = nimifier.plan(digits)
    draft = nimifier.draft(digits, tmp_path / "bundle")

    assert plan == draft.plan
    assert list(tmp_path.iterdir()) == [digits]


def test_a_moved_bundle_is_made_again_the_same(bundle: Path, tmp_path: Path) -> None:
    """A bundle needs nothing but itself: nothing in it depends on where it is."""
    moved = shutil.copytree(bundle, tmp_path / "moved")

    assert not Nimifier().draft(moved).check()


def test_a_bundle_is_the_source_of_another(bundle: Path, tmp_path: Path) -> None:
    """With an output, a bundle's settings and model make a second bundle."""
    copy = Nimifier(ModelConfig(version="2.0.0")).create(bundle, tmp_path / "second")

    assert copy.spec.version == "2.0.0"
    assert NIMService.open(bundle).spec.version == "1.0.0"


@pytest.mark.parametrize("kind", ["external-data", "several-outputs"])
def test_a_bundle_of_any_kind_is_made_again_from_itself(kind: str, tmp_path: Path) -> None:
    """The model's first name and digest survive its renaming in the repository."""
    model = models.save(models.ALL[kind](), tmp_path / "My Model.onnx")
    service = Nimifier(trial=False).create(model, tmp_path / "bundle")

    assert not Nimifier(trial=False).draft(service.folder).check()


def test_progress_is_told_of_every_byte_that_is_read_and_written(digits: Path, tmp_path: Path) -> None:
    """Reading and copying report the length of the model each."""
    seen: dict[str, int] = {}

    @contextmanager
    def progress(label: str, total: int) -> Iterator[Any]:
        seen[label] = 0

        def report(count: int) -> None:
            seen[label] += count

        yield report

    Nimifier(trial=False).create(digits, tmp_path / "bundle", progress=progress)

    size = digits.stat().st_size
    assert seen == {"Reading digits.onnx": size, "Writing the bundle": size}


def test_edited_files_are_not_overwritten(digits: Path, tmp_path: Path) -> None:
    """`force` is needed, as on the command line."""
    nimifier = Nimifier(trial=False)
    service = nimifier.create(digits, tmp_path / "bundle")
    (service.folder / "openapi.json").write_text("{}")

    with pytest.raises(BundleEdited, match=r"openapi\.json"):
        nimifier.create(digits, service.folder)
    nimifier.create(digits, service.folder, force=True)

    assert not nimifier.draft(digits, service.folder).check()


def test_errors_are_those_of_the_stages(tmp_path: Path) -> None:
    """A script catches what went wrong by who must act."""
    (tmp_path / "file").write_text("x")
    model = models.save(models.digits_mlp(), tmp_path / "digits.onnx")

    with pytest.raises(ModelError, match="there is no such file"):
        Nimifier().create(tmp_path / "missing.onnx")
    with pytest.raises(BundleError, match="is no folder"):
        Nimifier().create(model, tmp_path / "file")


class TestSettings:
    """How settings from several places become one."""

    def test_the_config_overrules_defaults(self, digits: Path, tmp_path: Path) -> None:
        """What `config` does not say is taken from `defaults`."""
        defaults = Wish(ModelConfig(version="2.0.0", description="From defaults."), tmp_path)

        draft = Nimifier(ModelConfig(version="3.0.0"), defaults=defaults, trial=False).draft(digits, tmp_path / "b")

        assert (draft.plan.service.version, draft.plan.service.description) == ("3.0.0", "From defaults.")

    def test_a_value_that_is_the_default_still_contradicts(self, digits: Path, tmp_path: Path) -> None:
        """Asking for seed 0 is asking, although 0 is the default."""
        Nimifier(ModelConfig.build({"golden": {"seed": 5}}), trial=False).create(digits, tmp_path / "b")
        asking = Nimifier(ModelConfig.build({"golden": {"seed": 0}}), trial=False)

        with pytest.raises(ConfigError, match=r"golden\.seed: 0 is asked for, but nimify\.yaml says 5"):
            asking.draft(digits, tmp_path / "b")
        assert asking.draft(digits, tmp_path / "b", force=True).config.golden.seed == 0

    def test_paths_are_relative_to_their_root(self, digits: Path, tmp_path: Path) -> None:
        """A label file is found beside the settings that name it, and copied into the bundle."""
        (tmp_path / "conf").mkdir()
        (tmp_path / "conf/labels.txt").write_text(_LABELS)
        config = ModelConfig.build({"pipeline": {"after": [{"top_k": {"k": 2, "labels": "labels.txt"}}]}})

        service = Nimifier(config, root=tmp_path / "conf", trial=False).create(digits, tmp_path / "b")

        assert (service.folder / "processors/labels.txt").read_text() == _LABELS
        assert [spec.name for spec in service.spec.api.outputs] != ["logits"]

    def test_a_label_file_may_change_at_its_source(self, digits: Path, tmp_path: Path) -> None:
        """Asking again with new content updates the copy; it is no contradiction."""
        labels = tmp_path / "labels.txt"
        labels.write_text(_LABELS)
        config = ModelConfig.build({"pipeline": {"after": [{"top_k": {"k": 2, "labels": "labels.txt"}}]}})
        nimifier = Nimifier(config, root=tmp_path, trial=False)
        service = nimifier.create(digits, tmp_path / "b")

        labels.write_text(_LABELS.upper())
        nimifier.create(digits, service.folder)

        assert (service.folder / "processors/labels.txt").read_text() == _LABELS.upper()

    def test_a_file_that_is_no_longer_named_goes(self, digits: Path, tmp_path: Path) -> None:
        """A forced change of the pipeline takes its files out of the bundle."""
        (tmp_path / "labels.txt").write_text(_LABELS)
        old = ModelConfig.build({"pipeline": {"after": [{"top_k": {"k": 2, "labels": "labels.txt"}}]}})
        new = ModelConfig.build({"pipeline": {"after": ["softmax"]}})
        service = Nimifier(old, root=tmp_path, trial=False).create(digits, tmp_path / "b")

        Nimifier(new, trial=False).create(digits, service.folder, force=True)

        assert not (service.folder / "processors").exists()

    def test_new_settings_keep_the_owners_comments(self, digits: Path, tmp_path: Path) -> None:
        """What can be added at the end is added there."""
        nimifier = Nimifier(ModelConfig.build({"threads": 2}), trial=False)
        settings = nimifier.create(digits, tmp_path / "b").folder / "nimify.yaml"
        settings.write_text(settings.read_text() + "# two are enough\n")

        Nimifier(ModelConfig.build({"description": "Reads digits."}), trial=False).create(digits, tmp_path / "b")

        assert "threads: 2\n# two are enough\n\ndescription: Reads digits.\n" in settings.read_text()
        assert ModelConfig.load(settings) == ModelConfig(threads=2, description="Reads digits.")


class TestServe:
    """A server as a context manager."""

    def test_it_answers_and_ends(self, bundle: Path) -> None:
        """Inside the context it is ready; afterwards it is gone."""
        with NIMService.open(bundle).serve() as server:
            body = json.dumps({"inputs": {"pixels": [[0.0] * 64]}}).encode()
            request = urllib.request.Request(
                f"{server.url}/v1/infer", body, {"Content-Type": "application/json"}, method="POST"
            )
            with urllib.request.urlopen(request, timeout=30) as response:
                answer = json.load(response)
            assert server.running
            assert len(answer["outputs"]["logits"][0]) == 10

        assert not server.running

    def test_with_several_workers_it_starts_when_all_of_them_are_ready(self, bundle: Path) -> None:
        """Whichever worker is asked, the answer is the same from the first moment."""
        with NIMService.open(bundle).serve(workers=2) as server:
            for _ in range(20):
                with urllib.request.urlopen(f"{server.url}/v1/health/ready", timeout=30) as response:
                    assert response.status == 200
        assert server.stop() == 0
        assert "ready" in server.log

    def test_a_live_service_validates(self, bundle: Path) -> None:
        """The service keeps its contract."""
        service = NIMService.open(bundle)

        with service.serve() as server:
            report = service.validate(server.url)

        assert [result.message for result in report.results if str(result.status) == "failed"] == []

    def test_a_taken_port_is_the_childs_error(self, bundle: Path) -> None:
        """What keeps the service from starting is raised here, in its words."""
        service = NIMService.open(bundle)
        with service.serve() as server:
            port = int(server.url.rpartition(":")[2])

            with pytest.raises(EnvironmentProblem, match=f"Port {port} of 127.0.0.1 is in use"):
                service.serve(port=port)

    def test_a_wrong_option_is_the_childs_error(self, bundle: Path) -> None:
        """Options are judged by the command."""
        with pytest.raises(ConfigError, match="No such option"):
            NIMService.open(bundle).serve(options=("--no-such-option",))

    def test_a_damaged_model_is_the_childs_error(self, bundle: Path, tmp_path: Path) -> None:
        """The digest of the model is checked before it is loaded."""
        copy = NIMService.open(shutil.copytree(bundle, tmp_path / "copy"))
        with (copy.folder / copy.spec.model_file).open("ab") as stream:
            stream.write(b"x")

        with pytest.raises(BundleError, match="digest"):
            copy.serve()

    def test_too_little_time_leaves_no_process(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who is not ready in time is ended."""
        pids: list[int] = []
        wait = ServerProcess._await_ready

        def noted(server: ServerProcess, timeout_s: float) -> None:
            pids.append(server.pid)
            wait(server, timeout_s)

        monkeypatch.setattr(ServerProcess, "_await_ready", noted)

        with pytest.raises(EnvironmentProblem, match="not ready within"):
            NIMService.open(bundle).serve(ready_timeout_s=0.01)
        with pytest.raises(ProcessLookupError):
            os.kill(pids[0], 0)
