"""The command as a whole: exit codes, words, streams, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from nimify import cli, errors
from nimify.commands.failures import describe, fingerprint

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command here; gives exit code, standard output and standard error."""
    for name in ("NO_COLOR", "FORCE_COLOR", "NIMIFY_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    handler = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            code = cli.main(arguments)
        finally:
            signal.signal(signal.SIGTERM, handler)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def _raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `nimify analyze MODEL` end in an error."""
    from nimify.core.nimifier import Nimifier

    def fail(self: object, *arguments: Any, **options: Any) -> None:
        raise error.with_traceback(None)

    monkeypatch.setattr(Nimifier, "analyze", fail)


def _script(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "nimify", *arguments]


def test_help_lists_every_command_with_its_line(run: Run) -> None:
    """`nimify --help` goes to standard output and names each command."""
    code, out, err = run("--help")

    assert (code, err) == (0, "")
    assert all(f"  {name}" in out for name in cli.COMMANDS)


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_a_command_says_of_itself_what_the_table_says(name: str, run: Run) -> None:
    """The line in the table is a summary of the command's own help, which exists."""
    code, out, _ = run(name, "--help")

    command = cli.nimify.get_command(click.Context(cli.nimify), name)
    assert code == 0
    assert f"Usage: nimify {name}" in out
    assert command is not None
    assert command.name == name


def test_version(run: Run) -> None:
    """`nimify --version` prints one line."""
    from nimify import __version__

    assert run("--version") == (0, f"nimify {__version__}\n", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("is wrong.", field="name"), 2),
        (errors.ModelError("m.onnx", "it is broken."), 3),
        (errors.UnsupportedModel("m.onnx", "it is odd."), 3),
        (errors.UnsafeModel("m.onnx", "it reaches out."), 3),
        (errors.BundleError("It is odd."), 4),
        (errors.BundleEdited("b", ("a.json",)), 4),
        (errors.BundleDamaged("It is broken."), 4),
        (errors.EnvironmentProblem("No space."), 5),
        (errors.PluginError("No such plugin."), 6),
        (OSError(28, "No space left on device", "/x"), 5),
        (PermissionError(13, "Permission denied", "/x"), 5),
        (MemoryError(), 5),
        (ZeroDivisionError("secret"), 70),
        (KeyboardInterrupt(), 130),
        (cli.Terminated(), 143),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_each_kind_of_error_has_its_exit_code(
    error: BaseException, code: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors become one line on standard error, at most one more with the remedy, and the documented status."""
    _raising(monkeypatch, error)

    found, out, err = run("analyze", "m.onnx")

    assert found == code
    assert out == ""
    assert err.startswith("Error: ")
    assert len(err.splitlines()) <= 2
    assert "Traceback" not in err


def test_with_json_an_error_is_a_document_on_standard_output(run: Run) -> None:
    """A script reads the same document whether it went well or not; people read standard error."""
    code, out, err = run("analyze", "missing.onnx", "--json")

    error = json.loads(out)["error"]
    assert error["exit_code"] == code == 3
    assert error["kind"] == "ModelError"
    assert error["message"] in err


def test_with_json_a_mistyped_option_is_a_document_too(run: Run) -> None:
    """`--json` counts wherever it stands."""
    code, out, _ = run("analyze", "--json", "--sede", "1", "m.onnx")

    assert code == 2
    assert json.loads(out)["error"]["kind"] == "UsageError"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("creat", "m.onnx"), "Did you mean 'create'?"),
        (("valdiate",), "Did you mean 'validate'?"),
        (("xyz",), f"There are: {', '.join(cli.COMMANDS)}."),
        (("create", "--forc", "m.onnx"), "--force"),
        (("serve", "--prot", "1", "b"), "--port"),
        (("completion", "bsh"), "'bash'"),
    ],
)
def test_mistyped_names_get_suggestions(arguments: tuple[str, ...], hint: str, run: Run) -> None:
    """A wrong command or option ends with 2 and names what was probably meant."""
    code, out, err = run(*arguments)

    assert (code, out) == (2, "")
    assert hint in err
    assert "--help" in err


def test_what_is_no_number_is_told_in_plain_words(run: Run) -> None:
    """Not in those of the library that reads options."""
    code, _, err = run("serve", "bundle", "--port", "80x")

    assert code == 2
    assert "'80x' is not a whole number." in err


def test_no_command_shows_the_help_and_is_an_error(run: Run) -> None:
    """`nimify` alone ends with 2, and its help is laid out as that of `nimify --help`."""
    code, out, err = run()

    assert (code, out) == (2, "")
    assert err == run("--help")[1]


def test_an_unexpected_error_has_an_id_and_hides_its_text(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours is one line; the id is the same when it happens again."""
    _raising(monkeypatch, ZeroDivisionError("secret"))

    first, second = run("analyze", "m.onnx")[2], run("analyze", "m.onnx")[2]

    assert first == second
    assert "ZeroDivisionError, id " in first
    assert "NIMIFY_DEBUG=1" in first
    assert "secret" not in first


def test_debugging_shows_the_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`NIMIFY_DEBUG=1` adds it, on standard error."""
    _raising(monkeypatch, ZeroDivisionError("secret"))
    monkeypatch.setenv("NIMIFY_DEBUG", "1")

    code, out, err = run("analyze", "m.onnx")

    assert (code, out) == (70, "")
    assert "Traceback" in err
    assert "secret" in err


def test_errors_of_different_places_have_different_ids() -> None:
    """The id tells two faults apart."""

    def first() -> None:
        raise ValueError

    def second() -> None:
        raise ValueError

    ids = set()
    for function in (first, second):
        try:
            function()
        except ValueError as error:
            ids.add(fingerprint(error))
    assert len(ids) == 2


def test_messages_cannot_break_out_of_their_line() -> None:
    """A hostile file name forges no second line and no colour."""
    failure = describe(errors.ModelError("a\n\x1b[31mError: b", "it is\nodd."))

    assert "\n" not in failure.message
    assert "\x1b" not in failure.message


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colour_is_only_where_it_is_wanted(
    environment: dict[str, str], coloured: bool, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No colour into a pipe; FORCE_COLOR brings it, and NO_COLOR beats everything."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    _, _, err = run("analyze", "missing.onnx")

    assert ("\x1b[" in err) is coloured


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, run: Run) -> None:
    """The script is on standard output and calls the command back."""
    code, out, err = run("completion", shell)

    assert (code, err) == (0, "")
    assert f"_NIMIFY_COMPLETE={shell}_complete" in out


def test_completion_answers_with_commands() -> None:
    """What the script calls back for lists the commands that fit."""
    environment = {**os.environ, "_NIMIFY_COMPLETE": "bash_complete", "COMP_WORDS": "nimify c", "COMP_CWORD": "1"}

    result = subprocess.run(_script(), capture_output=True, text=True, env=environment)

    assert result.stdout.splitlines() == ["plain,completion", "plain,create"]


def test_a_reader_that_goes_away_is_no_error(digits: Path) -> None:
    """`nimify analyze … | head -1` ends quietly with the status of SIGPIPE."""
    read, write = os.pipe()
    os.close(read)
    try:
        result = subprocess.run(
            _script("analyze", "--no-trial", str(digits)), stdout=write, stderr=subprocess.PIPE, text=True
        )
    finally:
        os.close(write)

    assert (result.returncode, result.stderr) == (141, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("pause_s", [0.35, 0.6])
def test_a_signal_during_create_leaves_nothing(
    number: signal.Signals, code: int, pause_s: float, tmp_path: Path
) -> None:
    """Interrupted at any moment, `create` leaves no bundle, no half of one, and no stray file."""
    from nimify.testing import models

    model = models.save(models.slow(40_000_000), tmp_path / "slow.onnx")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        _script("create", str(model), "-o", str(tmp_path / "bundle")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
        start_new_session=True,
    )
    # Any moment will do, but for the start: Python itself knows no signals then, and while it imports modules it may
    # swallow the exception that one raises. The trial of the model is a process of its own, and lasts.
    _wait_for_child(process.pid)
    time.sleep(pause_s)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)

    # Interrupted inside `exec` (as when a dataclass is made), Python ends by the signal itself although the interrupt
    # was dealt with; a shell shows the same status for both.
    assert process.returncode in {code, -number}
    assert err == f"Error: {'Interrupted' if number == signal.SIGINT else 'Terminated'}.\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slow.onnx", "tmp"]
    assert list(temporary.iterdir()) == []


def _wait_for_child(pid: int) -> None:
    """Until a process has started another one."""
    deadline_s = time.monotonic() + 60
    while not any(children.read_text() for children in Path(f"/proc/{pid}/task").glob("*/children")):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing_but_what_is_seen(closed: str, digits: Path, tmp_path: Path) -> None:
    """A service manager may start programs without streams: the work is done, and the status is the same."""
    command = f'exec "$0" -m nimify create "$1" -o "$2" {closed}'
    good = ["sh", "-c", command, sys.executable, str(digits), str(tmp_path / "bundle")]
    bad = [*good[:-2], str(tmp_path / "no-such.onnx"), str(tmp_path / "other")]

    done, failed = (subprocess.run(words, capture_output=True, text=True, check=False) for words in (good, bad))

    assert (done.returncode, failed.returncode) == (0, 3)
    assert "Traceback" not in done.stderr + failed.stderr
    assert (tmp_path / "bundle" / "manifest.json").is_file()


def test_a_working_directory_that_is_gone_is_named(digits: Path, tmp_path: Path) -> None:
    """It is a fault of the machine's state, not of nimify."""
    command = 'mkdir gone && cd gone && rmdir ../gone && exec "$0" -m nimify create "$1"'
    words = ["sh", "-c", command, sys.executable, str(digits)]

    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ended.returncode == 5
    assert ended.stderr.startswith("Error: The working directory does not exist any more.")


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A small model file."""
    from nimify.testing import models

    return models.save(models.digits_mlp(), tmp_path / "digits.onnx")
