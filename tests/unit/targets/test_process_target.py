"""The process target with real processes: deployed, switched, restarted, rolled back, stopped, and killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nimify.core.deployments import DeployedService, deploy, foresee, order_for
from nimify.errors import ConfigError, NotDeployed, RolledBack
from nimify.targets.process.folder import ServiceFolder
from nimify.targets.process.revisions import Revisions
from nimify.targets.target import Applied, Phase

pytestmark = pytest.mark.usefixtures("state")
MakeBundle = Callable[..., Path]
FREE = {"port": "0"}
KEY = "a-key-of-these-tests-0123456789"


def eventually(condition: Callable[[], object], what: str, *, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.05)


@pytest.fixture
def bundle(make_bundle: MakeBundle, tmp_path: Path) -> Path:
    """A bundle that the test may change; its service drains at once."""
    copy = tmp_path / "bundle"
    shutil.copytree(make_bundle("tiny", limits={"drain_s": 0}), copy)
    return copy


def changed(bundle: Path, version: str) -> Path:
    """Let a bundle be another release."""
    path = bundle / "plan.json"
    plan: dict[str, Any] = json.loads(path.read_bytes())
    plan["service"]["version"] = version
    path.write_text(json.dumps(plan))
    return bundle


def deployed(bundle: Path, **settings: str) -> Applied:
    return deploy("process", order_for(bundle, settings={**FREE, **settings}, timeout_s=120.0))


def served_version(url: str) -> str:
    with urllib.request.urlopen(f"{url}/v1/metadata", timeout=60) as answer:
        return str(json.load(answer)["version"])


def is_running(pid: int) -> bool:
    """Whether a process goes on; one that has ended may yet wait to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def folder_of(bundle: Path) -> ServiceFolder:
    return ServiceFolder.of(order_for(bundle).reference.name)


def test_a_deployed_bundle_answers_until_it_is_stopped(bundle: Path) -> None:
    """What `deploy` returns can be asked, `status` agrees, and after `stop` nothing listens there."""
    applied = deployed(bundle)
    service = DeployedService.find("tiny")
    url = applied.deployment.url

    assert applied.changed
    assert service.status().phase is Phase.RUNNING
    assert [(revision.number, revision.live) for revision in service.status().revisions] == [(1, True)]
    assert served_version(url) == "1.0.0"
    assert service.stop()
    assert service.status().phase is Phase.STOPPED
    with pytest.raises(OSError, match="refused"):
        served_version(url)


def test_a_second_deploy_with_nothing_changed_changes_nothing(bundle: Path) -> None:
    """The same bundle with the same settings leaves the process and the revisions as they are."""
    first = deployed(bundle)

    second = deployed(bundle)

    assert not second.changed
    assert second.deployment == first.deployment


def test_a_new_revision_takes_the_same_address_and_the_old_one_can_come_back(bundle: Path) -> None:
    """A changed bundle becomes revision 2 on the same port; a rollback brings revision 1 back there."""
    url = deployed(bundle).deployment.url

    second = deployed(changed(bundle, "2.0.0")).deployment

    assert second.url == url
    assert served_version(url) == "2.0.0"
    back = DeployedService.find("tiny").rollback().deployment
    assert back.live is not None
    assert back.live.number == 1
    assert served_version(url) == "1.0.0"


def test_a_revision_that_answers_wrongly_never_goes_live(bundle: Path) -> None:
    """Wrong answers to the golden requests end the trial; the live revision is not touched and no copy stays."""
    before = deployed(bundle).deployment
    golden = bundle / "golden" / "batch-1.response.json"
    answer = json.loads(golden.read_bytes())
    answer["outputs"][0]["data"] = [value + 1.0 for value in answer["outputs"][0]["data"]]
    golden.write_text(json.dumps(answer))

    with pytest.raises(NotDeployed, match="nothing changed"):
        deployed(changed(bundle, "2.0.0"))

    assert DeployedService.find("tiny").status() == before
    assert served_version(before.url) == "1.0.0"
    assert [snapshot.number for snapshot in Revisions(folder_of(bundle).revisions).all()] == [1]


def test_a_revision_that_does_not_start_says_why(bundle: Path) -> None:
    """A model that is not the planned one ends the trial, with the reason and the last lines of the log."""
    deployed(bundle)
    (model,) = bundle.glob("model_repository/*/1/model.onnx")
    model.write_bytes(model.read_bytes()[:-8])

    with pytest.raises(NotDeployed, match="did not start") as caught:
        deployed(changed(bundle, "2.0.0"))

    assert caught.value.exit_code == 10
    assert caught.value.evidence
    assert DeployedService.find("tiny").status().phase is Phase.RUNNING


def test_a_first_deploy_that_fails_leaves_nothing_running(bundle: Path) -> None:
    """When nothing ran before, nothing runs after a failed trial."""
    (model,) = bundle.glob("model_repository/*/1/model.onnx")
    model.write_bytes(b"")

    with pytest.raises(NotDeployed):
        deployed(bundle)

    assert not folder_of(bundle).supervised
    with pytest.raises(ConfigError, match="was not deployed"):
        DeployedService.find("tiny")


def test_a_revision_that_fails_once_it_is_live_is_rolled_back(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the proof on the public address fails, the revision before answers again, and the error says so."""
    from nimify.targets.verification import Unfit, verify

    url = deployed(bundle).deployment.url

    def fails_for_the_second(where: str, proof: Any, **options: Any) -> None:
        if proof.service.version == "2.0.0":
            raise Unfit("It answers otherwise.")
        verify(where, proof, **options)

    monkeypatch.setattr("nimify.targets.process.rollout.verify", fails_for_the_second)

    with pytest.raises(RolledBack, match="Revision 1 answers again"):
        deployed(changed(bundle, "2.0.0"))

    assert served_version(url) == "1.0.0"


def test_a_service_that_is_killed_starts_again_on_its_address(bundle: Path) -> None:
    """`kill -9` of the service costs what it was answering; the supervisor starts another one on the same socket."""
    url = deployed(bundle).deployment.url
    folder = folder_of(bundle)
    report = folder.report()
    assert report is not None

    os.kill(report.instance, signal.SIGKILL)

    # The socket stays open meanwhile: this request waits for the new process and is not refused.
    assert served_version(url) == "1.0.0"
    eventually(lambda: (found := folder.report()) is not None and found.restarts == 1, "the restart")
    eventually(lambda: DeployedService.find("tiny").status().phase is Phase.RUNNING, "running")


def test_a_supervisor_that_is_killed_takes_the_service_along_and_the_next_deploy_recovers(bundle: Path) -> None:
    """Without its supervisor a service does not linger on the port; `status` says what happened."""
    deployed(bundle)
    folder = folder_of(bundle)
    report = folder.report()
    assert report is not None

    os.kill(report.pid, signal.SIGKILL)

    eventually(lambda: not is_running(report.instance), "the end of the service")
    status = DeployedService.find("tiny").status()
    assert status.phase is Phase.FAILED
    assert "supervisor is gone" in status.reason
    assert deployed(bundle).deployment.phase is Phase.RUNNING


def test_a_deploy_that_is_killed_leaves_the_old_revision_and_no_debris(bundle: Path, state: Path) -> None:
    """`kill -9` during the trial: the old one answers, the trial's process is gone, the next deploy succeeds."""
    url = deployed(bundle).deployment.url
    changed(bundle, "2.0.0")
    command = [sys.executable, "-m", "nimify", "deploy", str(bundle), "--target", "process", "--set", "port=0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    assert "is tried" in process.stderr.readline()
    process.kill()
    process.wait()
    process.stderr.close()

    assert served_version(url) == "1.0.0"
    applied = deployed(bundle)
    assert served_version(url) == "2.0.0"
    assert [revision.number for revision in applied.deployment.revisions][-1] == 1
    assert not list((state / "process" / "tiny" / "revisions").glob(".partial-*"))


def test_of_two_deploys_at_once_one_is_told(bundle: Path) -> None:
    """While somebody holds the service's lock, another deploy changes nothing and says why."""
    with folder_of(bundle).ours(), pytest.raises(NotDeployed, match="Another nimify is changing 'tiny'"):
        deployed(bundle)


def test_a_forecast_names_what_would_change_and_changes_nothing(bundle: Path) -> None:
    """The dry run lists files and settings by name, and says nothing when nothing would change."""
    deployed(bundle)
    assert foresee("process", order_for(bundle, settings=FREE)).changes == ()

    forecast = foresee("process", order_for(changed(bundle, "2.0.0"), settings={**FREE, "workers": "2"}))

    assert "changed plan.json" in forecast.changes
    assert "set workers to 2, which is 0" in forecast.changes
    assert {finding.code for finding in forecast.findings} == {"bundle.edited-files"}
    assert len(Revisions(folder_of(bundle).revisions).all()) == 1


def test_a_port_that_is_taken_stops_a_deploy_before_it_begins(bundle: Path) -> None:
    """The preflight finds it, names the remedy, and nothing is started."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(NotDeployed, match=f"Port {port}") as caught:
            deployed(bundle, port=port, grpc_port="0")

    assert "--set port=PORT" in caught.value.remedy
    assert not folder_of(bundle).path.exists()


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("prot", "1", "Did you mean 'port'?"),
        ("port", "many", "must be a whole number"),
        ("port", "70000", "must be from 0 to 65535"),
        ("workers", "0", "must be from 1 to 256"),
        ("log_level", "loud", "must be one of"),
    ],
)
def test_a_setting_that_is_wrong_is_named(bundle: Path, setting: str, value: str, said: str) -> None:
    """A typo or a value out of range is an error that says which setting, and what would be right."""
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        deployed(bundle, **{setting: value})


def test_a_rollback_to_a_revision_that_is_not_there_lists_those_that_are(bundle: Path) -> None:
    """The error names the revisions that one can return to."""
    deployed(bundle)

    with pytest.raises(ConfigError, match="has no revision 7") as caught:
        DeployedService.find("tiny").rollback(7)

    assert caught.value.remedy == "There are: 1."


def test_logs_are_those_of_the_service(bundle: Path) -> None:
    """The last lines hold what the service wrote when it became ready."""
    deployed(bundle)

    lines = list(DeployedService.find("tiny").logs(lines=50))

    assert any(json.loads(line)["event"] == "ready" for line in lines if line.startswith("{"))


def test_purging_leaves_no_trace(bundle: Path, state: Path) -> None:
    """After `stop --purge` there is nothing to find, to go back to, or on disk."""
    deployed(bundle)

    DeployedService.find("tiny").stop(purge=True)

    assert not list((state / "process").iterdir())
    with pytest.raises(ConfigError, match="was not deployed"):
        DeployedService.find("tiny")


def test_a_service_behind_keys_is_proven_with_one_of_them(bundle: Path, state: Path, tmp_path: Path) -> None:
    """It is tried, goes live, is replaced and comes back, and the key is on no command line and in no record."""
    keys = tmp_path / "keys.txt"
    keys.write_text(f"# of the gateway\n{KEY}\n")
    url = deployed(bundle, api_keys=str(keys)).deployment.url
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{url}/v1/models", timeout=10)
    request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    report = folder_of(bundle).report()
    assert report is not None
    assert KEY.encode() not in Path(f"/proc/{report.instance}/cmdline").read_bytes()

    assert deployed(bundle, api_keys=str(keys), log_level="debug").changed
    assert DeployedService.find("tiny").rollback().changed

    assert [file for file in state.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()] == []


def test_a_log_level_that_hides_readiness_is_refused(bundle: Path) -> None:
    """The target would wait in vain for a line that is not written."""
    with pytest.raises(ConfigError, match="when it is ready"):
        deployed(bundle, log_level="warning")


def test_a_key_that_the_service_does_not_accept_proves_nothing(bundle: Path, tmp_path: Path) -> None:
    """The deployment ends with what the service said; the key is not repeated. Keys that are none are refused first."""
    keys = tmp_path / "keys.txt"
    keys.write_text(f"{KEY}\n")
    other = "another-key-0123456789"
    order = order_for(
        bundle, settings={**FREE, "api_keys": str(keys)}, headers={"Authorization": f"Bearer {other}"}, timeout_s=120.0
    )
    assert other not in repr(order)
    with pytest.raises(NotDeployed, match="401") as caught:
        deploy("process", order)
    assert other not in f"{caught.value} {caught.value.evidence}"
    keys.write_text("short\n")
    with pytest.raises(ConfigError, match="is no key"):
        deployed(bundle, api_keys=str(keys))


def test_the_key_of_a_deploy_comes_from_a_file_or_the_environment(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--api-key-file` and NIMIFY_API_KEY both reach the proof; neither is printed."""
    from nimify import cli

    keys, wrong = tmp_path / "keys.txt", tmp_path / "wrong.txt"
    keys.write_text(f"{KEY}\n")
    wrong.write_text("another-key-0123456789\n")
    command = ["deploy", str(bundle), "--target", "process", "--set", "port=0", "--set", f"api_keys={keys}"]
    assert cli.main([*command, "--api-key-file", str(wrong)]) == 10
    assert "401" in capsys.readouterr().err
    monkeypatch.setenv("NIMIFY_API_KEY", KEY)
    assert cli.main(command) == 0
    said = capsys.readouterr()
    assert KEY not in said.out + said.err
    assert cli.main([*command, "--api-key-file", str(tmp_path / "nowhere")]) == 2
