"""One script, by every client of Triton and KServe, against the embedded engine and a real tritonserver.

What differs is listed in docs/reference/protocol-differences.md, each with its reason, and nothing else differs.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.conftest import wait_until_ready
from tests.triton.protocol import busy, grpc_wire, http_wire, models, triton_clients
from tests.triton.protocol.comparison import PAGE, Difference, differences, listed, merged
from tests.triton.protocol.outcome import Outcomes
from tests.triton.protocol.script import LABELS, SCRIPT
from tests.triton.protocol.servers import Server, bare_triton

from nimify.testing import models as tiny_models

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.triton.stand_in import TritonStandIn

pytestmark = [pytest.mark.triton, pytest.mark.timeout(900)]

ROOT: Final = Path(__file__).parents[2]
KSERVE: Final = ROOT / ".tools/kserve/bin/python"
WIRE: Final = ("HTTP as bytes", "gRPC as messages")


AskKserve = Callable[..., "list[dict[str, Outcomes]]"]


@pytest.fixture(scope="module")
def ask_kserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AskKserve]:
    """Run the script by KServe's clients, whose dependencies do not fit beside ours."""
    if not KSERVE.is_file():
        pytest.fail("KServe's clients are not there; install them with: make .tools/kserve/.ready")
    log = tmp_path_factory.mktemp("kserve") / "log.txt"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [str(KSERVE), "-m", "tests.triton.protocol.kserve_clients"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        questions, answers = process.stdin, process.stdout
        assert questions
        assert answers

        def ask(model: str, *servers: Server) -> list[dict[str, Outcomes]]:
            addresses = [address for server in servers for address in (server.http, server.grpc)]
            questions.write(" ".join((model, *addresses)) + "\n")
            questions.flush()
            line = answers.readline()
            assert line, log.read_text()[-2000:]
            outcomes: list[dict[str, Outcomes]] = json.loads(line)
            return outcomes

        yield ask
        questions.close()


def ask_everything(model: str, *servers: Server) -> list[dict[str, Outcomes]]:
    """What comes of everything else that is asked about a model, by client, from each server."""
    answers = []
    for server in servers:
        outcomes = triton_clients.run_all(server.http, server.grpc, SCRIPT[model])
        outcomes["HTTP as bytes"] = http_wire.run(server.http, http_wire.WIRE.get(model, {}))
        outcomes["gRPC as messages"] = grpc_wire.run(server.grpc, grpc_wire.WIRE.get(model, {}))
        answers.append(outcomes)
    return answers


def ask_a_busy_one(model: str, *servers: Server) -> list[dict[str, Outcomes]]:
    """What comes of requests that wait behind others, and of one that the model itself refuses."""
    assert model == "work"
    return [
        {"HTTP as bytes": busy.by_http(server.http), "gRPC as messages": busy.by_grpc(server.grpc)}
        for server in servers
    ]


@pytest.fixture(scope="module")
def seen(
    start_service: Callable[..., RunningService],
    make_bundle_of: Callable[..., Path],
    triton: TritonStandIn,
    ask_kserve: AskKserve,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, set[Difference]]:
    """What differs, by client."""
    found: dict[str, set[Difference]] = {}
    for model in (*SCRIPT, "work"):
        scripts = (ask_a_busy_one,) if model == "work" else (ask_kserve, ask_everything)
        bundle = make_bundle_of(model)
        service = start_service(bundle, wait_ready=False)
        if model == "digits":
            name_labels(triton.bundle(bundle))
        with bare_triton(triton, bundle, tmp_path_factory.mktemp("triton") / "log.txt") as server:
            wait_until_ready(service)
            here = Server(service.url.removeprefix("http://"), service.grpc_address)
            for script in scripts:
                theirs, ours = script(model, server, here)
                for client, outcomes in theirs.items():
                    found.setdefault(client, set()).update(differences(client, outcomes, ours[client]))
        service.stop()
    return found


def name_labels(bundle: Path) -> None:
    """Tell Triton, too, what the classes are called: ours knows from the processor, Triton from its configuration."""
    (config,) = bundle.glob("model_repository/*/config.pbtxt")
    text = config.read_text()
    assert text.count('name: "logits"') == 1
    config.write_text(text.replace('name: "logits"', 'name: "logits"\n  label_filename: "labels.txt"'))
    config.with_name("labels.txt").write_text("\n".join(LABELS) + "\n")


@pytest.fixture(scope="module")
def make_bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make a bundle of a model of the script."""
    from nimify import ModelConfig, Nimifier

    kinds = {"every-type": models.every_type, "work": models.work}

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        labels = folder / "labels.txt"
        labels.write_text("\n".join(LABELS))
        configs: dict[str, dict[str, Any]] = {
            "work": {"batching": {"max_batch_size": 2}},  # so that two rows are not merged with others
            "digits": {"pipeline": {"after": [{"top_k": {"k": 3, "labels": str(labels)}}]}},
        }
        model = tiny_models.save((kinds.get(name) or tiny_models.ALL[name])(), folder / f"{name}.onnx")
        settings = ModelConfig.build({"name": name, **configs.get(name, {})})
        return Nimifier(settings).create(model, folder / "bundle").folder

    return make


def test_nothing_differs_but_what_is_listed(seen: dict[str, set[Difference]]) -> None:
    """Every fact of every answer to every client."""
    rows = listed()
    unlisted = {d for d in merged(seen) if not any(row.covers(d) for row in rows)}
    lines = [f"| `{d.case}` | `{d.fact}` | {d.protocol} | `{d.triton}` | `{d.here}` | |" for d in sorted(unlisted)]
    assert not lines, f"not listed in {PAGE.name}:\n" + "\n".join(lines)


def test_what_is_listed_differs(seen: dict[str, set[Difference]]) -> None:
    """A row that nothing is like any more has to go."""
    differences_ = merged(seen)
    stale = [row.row for row in listed() if not any(row.covers(d) for d in differences_)]
    assert not stale, "listed, but not seen:\n" + "\n".join(stale)


def test_every_listed_difference_has_a_reason() -> None:
    """Or it is a mistake of ours."""
    rows = listed()
    assert len(rows) > 20
    assert all(row.why and row.cases and row.facts for row in rows)


def test_no_fault_of_a_client_is_called_ours(seen: dict[str, set[Difference]]) -> None:
    """Whatever was sent: neither 500 nor INTERNAL nor UNKNOWN, and every call was answered."""
    ours = {d.here for d in merged(seen) if d.fact == "status"}
    assert not [here for here in ours if here in {"INTERNAL", "UNKNOWN"} or here.startswith(("500", "no answer"))]
