"""`serve --verify-key`: a service starts only from what the owner of the key has signed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nimify.core.signatures import sign_bundle
from nimify.signing.keys import PrivateKey, generate_key
from nimify.testing import models

if TYPE_CHECKING:
    from tests.conftest import RunningService

StartService = Callable[..., "RunningService"]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private key; its public half lies beside it as `signing.pub`."""
    path = tmp_path_factory.mktemp("keys") / "signing.pem"
    generate_key(path)
    return path


@pytest.fixture
def bundle(make_bundle: Callable[..., Path], tmp_path: Path, key: Path) -> Path:
    """A signed bundle of our own, of a model with its weights in a file beside it."""
    folder = Path(shutil.copytree(make_bundle("external-data"), tmp_path / "bundle"))
    sign_bundle(folder, PrivateKey.load(key))
    return folder


def refused(bundle: Path, key: Path, *options: str, env: dict[str, str] | None = None) -> str:
    """Start a service that must not start with exit code 4; what it said."""
    ended = subprocess.run(
        [sys.executable, "-m", "nimify", "serve", str(bundle), "--port", "0", "--verify-key", str(key), *options],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **(env or {})},
        check=False,
    )
    assert ended.returncode == 4, ended.stderr
    assert "model loaded" not in ended.stderr
    assert "Traceback" not in ended.stderr
    (error,) = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")]
    return error


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _model_file(bundle: Path, suffix: str) -> Path:
    return next(file for file in bundle.glob("model_repository/*/1/*") if file.suffix == suffix)


def test_a_signed_bundle_is_served(bundle: Path, key: Path, start_service: StartService) -> None:
    """The signature is right, so the service becomes ready; a description can be longer than any name of a file."""
    plan = json.loads((bundle / "plan.json").read_text())
    plan["service"]["description"] = "long " * 300
    (bundle / "plan.json").write_text(json.dumps(plan))
    sign_bundle(bundle, PrivateKey.load(key))

    service = start_service(bundle, "--verify-key", str(key.with_suffix(".pub")))

    assert service.stop() == 0


@pytest.mark.parametrize("suffix", [".onnx", ".bin"])
def test_a_flipped_bit_of_the_model_stops_the_start(bundle: Path, key: Path, suffix: str) -> None:
    """The model file and its weights are compared before the engine opens them."""
    _flip(_model_file(bundle, suffix))

    assert "does not match its digest" in refused(bundle, key.with_suffix(".pub"))


@pytest.mark.parametrize("file", ["plan.json", "openapi.json", "config.pbtxt"])
def test_a_flipped_bit_elsewhere_stops_the_start(bundle: Path, key: Path, file: str) -> None:
    """Whatever else the service, or Triton, reads is compared before it is used."""
    _flip(next(bundle.rglob(file)))

    assert "its content has changed" in refused(bundle, key.with_suffix(".pub"))


def test_a_consistent_exchange_stops_the_start(bundle: Path, key: Path) -> None:
    """Another model together with its own digest in plan.json is still not what was signed."""
    plan = bundle / "plan.json"
    model = _model_file(bundle, ".onnx")
    spec = json.loads(plan.read_text())
    _flip(model)
    old = next(file for file in spec["service"]["model_files"] if file["path"].endswith(".onnx"))["sha256"]
    plan.write_text(plan.read_text().replace(old, hashlib.sha256(model.read_bytes()).hexdigest()))

    assert "'plan.json' is not what was signed" in refused(bundle, key.with_suffix(".pub"))


@pytest.mark.parametrize("place", ["model_repository/added.bin", "processors/added.py", "added.py"])
def test_an_added_file_stops_the_start(bundle: Path, key: Path, place: str) -> None:
    """A file that nobody signed is named."""
    (bundle / place).parent.mkdir(exist_ok=True)
    (bundle / place).write_text("import os\n")

    assert f"'{place}' is not among the signed files" in refused(bundle, key.with_suffix(".pub"))


def test_a_removed_file_stops_the_start(bundle: Path, key: Path) -> None:
    """A signed file that is gone is named."""
    _model_file(bundle, ".bin").unlink()

    assert "signed, and missing from the bundle" in refused(bundle, key.with_suffix(".pub"))


def test_a_wrong_key_stops_the_start(bundle: Path, tmp_path: Path) -> None:
    """The signature is right, but not by whom it should be."""
    public = generate_key(tmp_path / "other.pem")

    assert "made with another key" in refused(bundle, public)


def test_a_missing_signature_stops_the_start(bundle: Path, key: Path) -> None:
    """Without a signature nothing is believed."""
    (bundle / "model.sig").unlink()

    assert "is not signed" in refused(bundle, key.with_suffix(".pub"))


def test_the_signature_of_another_bundle_stops_the_start(
    bundle: Path, key: Path, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    """By the same key, over other files."""
    other = Path(shutil.copytree(make_bundle("tiny"), tmp_path / "other"))
    sign_bundle(other, PrivateKey.load(key))
    shutil.copyfile(other / "model.sig", bundle / "model.sig")

    assert "not among the signed files" in refused(bundle, key.with_suffix(".pub"))


def test_every_worker_is_stopped(bundle: Path, key: Path) -> None:
    """Several workers fail closed as one does."""
    _flip(_model_file(bundle, ".onnx"))

    ended = subprocess.run(
        [sys.executable, "-m", "nimify", "serve", str(bundle), "--port", "0", "--workers", "2",
         "--verify-key", str(key.with_suffix(".pub"))],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert ended.returncode == 4
    assert "does not match its digest" in ended.stderr


def test_containers_take_the_key_from_the_environment(bundle: Path, key: Path) -> None:
    """`python -m nimify.serving` with NIMIFY_VERIFY_KEY fails closed, too."""
    (bundle / "added.py").write_text("")
    environment = {"NIMIFY_BUNDLE": str(bundle), "NIMIFY_VERIFY_KEY": str(key.with_suffix(".pub"))}

    ended = subprocess.run(
        [sys.executable, "-m", "nimify.serving"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment, "NIM_HTTP_API_PORT": "0", "NIMIFY_HOST": "127.0.0.1"},
        check=False,
    )

    assert ended.returncode == 4
    assert ended.stderr.startswith("Error: 'added.py' is not among the signed files")


def test_a_file_that_the_plan_names_must_be_signed(bundle: Path, key: Path) -> None:
    """A plan may name files outside the signed folders; a service that must be signed uses none of them."""
    (bundle / "labels.txt").write_text("a\nb\n")
    plan = json.loads((bundle / "plan.json").read_text())
    plan["service"]["pipeline"]["after"] = [{"use": "top_k", "options": {"labels": "labels.txt"}}]
    (bundle / "plan.json").write_text(json.dumps(plan))
    sign_bundle(bundle, PrivateKey.load(key))

    assert "'labels.txt' is used by the service and not signed" in refused(bundle, key.with_suffix(".pub"))


def test_digests_cannot_be_switched_off(bundle: Path, key: Path) -> None:
    """--no-verify contradicts --verify-key, and is refused as an option."""
    ended = subprocess.run(
        [sys.executable, "-m", "nimify", "serve", str(bundle), "--verify-key", str(key.with_suffix(".pub")),
         "--no-verify"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert ended.returncode == 2
    assert "--no-verify" in ended.stderr


def test_without_the_option_nothing_of_it_is_loaded() -> None:
    """A service that need not be signed does not load a cryptographic library."""
    code = (
        "import sys; from nimify.serving.service import run; from nimify.serving.settings import ServiceSettings;"
        "from nimify.serving import worker;"
        "print([name for name in sys.modules if name.startswith(('cryptography', 'nimify.signing'))])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)

    assert ended.stdout.strip() == "[]"


def test_a_model_file_has_no_signature(tmp_path: Path, key: Path) -> None:
    """A bundle that is made on the way was signed by nobody."""
    models.save(models.ALL["tiny"](), tmp_path / "model.onnx")

    ended = subprocess.run(
        [sys.executable, "-m", "nimify", "serve", str(tmp_path / "model.onnx"), "--verify-key", str(key)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert ended.returncode == 2
    assert "--verify-key needs a bundle" in ended.stderr


def test_a_worker_that_replaces_another_checks_again(
    bundle: Path, key: Path, start_service: StartService, eventually: Callable[..., None]
) -> None:
    """What was changed while the service ran is not picked up by a new worker; the others answer on."""
    service = start_service(bundle, "--verify-key", str(key.with_suffix(".pub")), "--workers", "2")
    (bundle / "openapi.json").write_text("{}")
    pid = service.process.pid
    worker = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]

    os.kill(int(worker), signal.SIGKILL)

    eventually(lambda: "'openapi.json' is not what was signed" in service.log.read_text(), what="the refusal")
    assert service.process.poll() is None
