"""A model that is changed under the service: what was loaded answers on, and the service says that it drifted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Ask, RunServe, ScrapeOf

StartService = Callable[..., "RunningService"]
Eventually = Callable[..., None]


def truncate(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.truncate(1)


def overwrite(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.write(b"\x3f" * file.stat().st_size)


def exchange(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"\x3f" * file.stat().st_size)
    other.replace(file)


def remove(file: Path) -> None:
    file.unlink()


@pytest.fixture
def bundle(make_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    """A bundle of our own, of a model with its weights in a file beside it."""
    return Path(shutil.copytree(make_bundle("external-data"), tmp_path / "bundle"))


def files_of(bundle: Path) -> dict[str, Path]:
    folder = next(bundle.glob("model_repository/*/1"))
    return {("model" if file.suffix == ".onnx" else "weights"): file for file in folder.iterdir()}


def asking(ask: Ask, service: RunningService) -> Callable[[], Any]:
    """Ask the same of the service again and again; what it answers."""
    name = ask(service, "GET", "/v1/models").json["data"][0]["id"]
    (row,) = ask(service, "GET", f"/v2/models/{name}").json["inputs"]
    shape = [max(dim, 1) for dim in row["shape"]]
    size = 1
    for dim in shape:
        size *= dim
    tensor = {"name": row["name"], "datatype": row["datatype"], "shape": shape, "data": [1] * size}

    def asked() -> Any:
        answer = ask(service, "POST", f"/v2/models/{name}/infer", {"inputs": [tensor]})
        assert answer.status == 200
        return answer.json["outputs"]

    return asked


@pytest.mark.parametrize("which", ["model", "weights"])
@pytest.mark.parametrize("change", [truncate, overwrite, exchange, remove])
def test_what_was_loaded_is_served_on_and_not_ready(
    change: Callable[[Path], None],
    which: str,
    bundle: Path,
    start_service: StartService,
    ask: Ask,
    scrape: ScrapeOf,
    eventually: Eventually,
) -> None:
    """No crash, no other answer; 503 with the reason until the files are back."""
    service = start_service(bundle)
    infer = asking(ask, service)
    expected = infer()
    file = files_of(bundle)[which]
    content = file.read_bytes()
    change(file)
    eventually(lambda: ask(service, "GET", "/v1/health/ready").status == 503, what="the drift")
    assert "files have changed" in ask(service, "GET", "/v1/health/ready").json["message"]
    assert scrape(service).value("nim_ready") == 0
    assert [infer() for _ in range(20)] == [expected] * 20
    file.write_bytes(content)
    eventually(lambda: ask(service, "GET", "/v1/health/ready").status == 200, what="the return")
    assert infer() == expected
    assert service.stop() == 0


def test_a_touched_file_is_no_drift(
    bundle: Path, start_service: StartService, ask: Ask, eventually: Eventually
) -> None:
    """Only its content counts."""
    service = start_service(bundle)
    file = files_of(bundle)["weights"]
    content = file.read_bytes()
    exchange(file)
    eventually(lambda: ask(service, "GET", "/v1/health/ready").status == 503, what="the drift")
    file.unlink()
    file.write_bytes(content)
    eventually(lambda: ask(service, "GET", "/v1/health/ready").status == 200, what="the return")
    assert service.log.read_text().count("files have changed") == 1


def test_the_private_copy_leaves_nothing_behind(
    bundle: Path, start_service: StartService, tmp_path: Path, ask: Ask
) -> None:
    """It has no name any more as soon as the model is loaded."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    service = start_service(bundle, env={"TMPDIR": str(folder)})
    assert list(folder.iterdir()) == []
    maps = Path(f"/proc/{service.process.pid}/maps").read_text()
    assert not any(str(bundle) in line for line in maps.splitlines())


@pytest.mark.parametrize("which", ["model", "weights"])
def test_a_damaged_file_is_not_served(which: str, bundle: Path, run_serve: RunServe) -> None:
    """The copy is verified as it is made: one flipped bit is found, and the file is named."""
    file = files_of(bundle)[which]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    ended = run_serve(bundle, "--port", "0", "--no-grpc")
    assert ended.returncode == 4
    assert file.name in ended.stderr
    assert "Traceback" not in ended.stderr
