"""A reader who types every command of a guide, in order, and compares what it says with what the page shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.guides.pages import ROOT, Block, Command, Page, never_run
from tests.guides.sandbox import Sandbox

from nimify.config import ModelConfig
from nimify.core.nimifier import Nimifier

COMMAND_S: Final = 800.0
_END_S: Final = 90.0
_INTERRUPTED: Final = 130
EXAMPLE: Final = ROOT / "examples" / "digits"
_LASTING: Final[Mapping[str, str]] = {
    r"nimify serve ": r"\bready url=",
    r"nimify monitor (?!.*--once)": r"up=",
    r"prometheus ": r"Server is ready to receive web requests",
    r"docker run ": r"\bready\b.*url",
}
"""Commands that end when they are told to: how they begin, and what they say when they are at it."""
_ENDS_THE_ONE_BEFORE: Final = re.compile(r"nimify serve |docker run |nimify monitor ")
"""Of these a reader has one at a time: the next one wants the same port, or the same window."""


class Mismatch(AssertionError):
    """A command does not do what its page says."""


@dataclass
class _Running:
    """A command that goes on."""

    command: Command
    process: subprocess.Popen[bytes]
    output: Path
    status: Path


@dataclass
class Reader:
    """Types commands in a folder of a sandbox.

    Attributes:
        sandbox: Where.
        folder: What the reader sees as the working folder.
        provides: What this suite has besides a shell; blocks that need something else are passed over.
        programs: Folders with further programs.
        environment: Besides the usual one.
        instead: What a page says, and what it means here, such as the name of a registry.
        built: The image that is taken for built where the page builds one and there is no engine.
        typed: What was typed so far.
    """

    sandbox: Sandbox
    folder: Path
    provides: Collection[str] = ()
    programs: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    instead: Mapping[str, str] = field(default_factory=dict)
    built: str = ""
    typed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._here = self.folder
        self._running: list[_Running] = []
        self._started: list[subprocess.Popen[bytes]] = []
        self._count = 0
        self._notes = self.folder.parent / f"{self.folder.name}.notes"
        self._notes.mkdir()
        (self._notes / "home").mkdir()

    def read(self, page: Page) -> None:
        """Do what a guide says, from its beginning to its end.

        Raises:
            Mismatch: A command ends otherwise, or says something else.
        """
        passed_over = {command for name, command in never_run() if name == page.name}
        try:
            for block in page.blocks:
                if block.needs == "" or block.needs in self.provides:
                    self._do(block, page, passed_over)
                elif block.needs == "docker" and self.built:
                    record_build(self._here / "digits", self.built)
        finally:
            ended = [self._stop(running) for running in self._running]
        for running, status in ended:
            self._judge(running.command, status, running.output.read_text(errors="replace"), page, stopped=True)

    def answer_behind(self, platform: str, port: int) -> None:
        """Let a real service of the example answer for what a stand-in plays; it ends with the sandbox."""
        bundle = self._notes / "digits"
        Nimifier(ModelConfig.build({"name": "digits"})).create(EXAMPLE / "digits.onnx", bundle)
        serve = f"NIMIFY_PLATFORM={platform} nimify serve {bundle} --port {port} --grpc-port 0"
        self._await(self._start(Command(serve, (), 0)), next(iter(_LASTING.values())), "behind the stand-in")
        self.typed.clear()

    # --- blocks ----------------------------------------------------------------------------------------------------

    def _do(self, block: Block, page: Page, passed_over: Collection[str]) -> None:
        for option, mode in (("title", "w"), ("append", "a")):
            if option in block.options:
                path = self._here / block.options[option]
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open(mode, encoding="utf-8") as stream:
                    stream.write(block.body)
        if block.language == "python" and "run" in block.options:
            script = self._notes / "snippet.py"
            script.write_text(block.body, encoding="utf-8")
            self._once(Command(f"{sys.executable} {script}", (), block.line), page)
        for command in block.commands:
            if command.text not in passed_over:
                self._command(command, page)

    def _command(self, command: Command, page: Page) -> None:
        lasting = next(
            (said for start, said in _LASTING.items() if re.search(rf"^(\w+=\S+ )*{start}", command.text)), ""
        )
        if lasting and not command.fails:
            self._begin(command, lasting, page)
        else:
            self._once(command, page)

    def _once(self, command: Command, page: Page) -> None:
        status, output = self._type(command.text)
        self._judge(command, status, output, page)

    # --- processes -------------------------------------------------------------------------------------------------

    def _type(self, text: str) -> tuple[int, str]:
        running = self._start(Command(text, (), 0))
        try:
            running.process.wait(COMMAND_S)
        except subprocess.TimeoutExpired:
            os.killpg(running.process.pid, signal.SIGKILL)
            raise Mismatch(f"$ {text}\nIt did not end.\n{running.output.read_text(errors='replace')}") from None
        where = running.status.with_suffix(".folder")
        if where.exists():
            self._here = Path(where.read_text().strip())
        status = int(running.status.read_text()) if running.status.exists() else running.process.returncode
        return status, running.output.read_text(errors="replace")

    def _start(self, command: Command) -> _Running:
        self._count += 1
        output, status = (self._notes / f"{self._count}.{kind}" for kind in ("output", "status"))
        text = command.text
        for said, meant in self.instead.items():
            text = text.replace(said, meant)
        self.typed.append(command.text)
        # The shell notes how its command ended, also when both are told to end by Ctrl-C.
        where = status.with_suffix(".folder")
        script = f"trap : INT\ncd {self._here}\n{text}\nended=$?\npwd >{where}\necho $ended >{status}"
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [*self.sandbox.enter(), "bash", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment(),
            )
        self._started.append(process)
        return _Running(command, process, output, status)

    def leave(self) -> None:
        """Reap whatever was started, once the sandbox has ended it."""
        for process in self._started:
            process.wait(_END_S)

    def _environment(self) -> dict[str, str]:
        places = [str(folder) for folder in (Path(sys.executable).parent, *self.programs)]
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("NIM", "FAKE_"))},
            "PATH": os.pathsep.join((*places, os.environ["PATH"])),
            "HOME": str(self._notes / "home"),
            "COLUMNS": "140",
            "NO_COLOR": "1",
            **self.environment,
        }

    def _begin(self, command: Command, until: str, page: Page) -> None:
        """Start what goes on, in a window of its own, and wait until it is at it."""
        if _ENDS_THE_ONE_BEFORE.search(command.text):
            self._end_those_before(command, page)
        running = self._start(command)
        self._await(running, until, f"{page.name}:{command.line}")
        self._running.append(running)

    def _await(self, running: _Running, until: str, where: str) -> None:
        deadline = time.monotonic() + COMMAND_S
        while not re.search(until, running.output.read_text(errors="replace")):
            said = f"{where}: $ {running.command.text}\n{running.output.read_text(errors='replace')}"
            if running.process.poll() is not None:
                raise Mismatch(f"{said}\nIt ended.")
            if time.monotonic() > deadline:
                raise Mismatch(f"{said}\nIt is not ready.")
            time.sleep(0.05)

    def _end_those_before(self, command: Command, page: Page) -> None:
        monitors = "nimify monitor " in command.text
        for running in list(self._running):
            if ("nimify monitor " in running.command.text) == monitors and _ENDS_THE_ONE_BEFORE.search(
                running.command.text
            ):
                self._running.remove(running)
                _, status = self._stop(running)
                self._judge(running.command, status, running.output.read_text(errors="replace"), page, stopped=True)

    def _stop(self, running: _Running) -> tuple[_Running, int]:
        """Press Ctrl-C."""
        os.killpg(running.process.pid, signal.SIGINT)
        deadline = time.monotonic() + _END_S
        while not running.status.exists() or not running.status.read_text():
            if time.monotonic() > deadline:
                raise Mismatch(f"$ {running.command.text}\nIt goes on after Ctrl-C.\n{running.output.read_text()}")
            time.sleep(0.02)
        running.process.wait(_END_S)
        return running, int(running.status.read_text())

    # --- verdicts --------------------------------------------------------------------------------------------------

    def _judge(self, command: Command, status: int, output: str, page: Page, *, stopped: bool = False) -> None:
        where = f"{page.name}:{command.line}: $ {command.text}"
        good = status in {0, _INTERRUPTED} if stopped else (status != 0) == command.fails
        if not good:
            raise Mismatch(f"{where}\nIt ended with {status}.\n{output}")
        place, said = 0, [self._plain(line) for line in output.splitlines()]
        for line in command.shown:
            if line.strip() in {"", "…"}:
                continue
            wanted = self._plain(line)
            if wanted not in said[place:]:
                raise Mismatch(f"{where}\nThe page shows:\n{line}\nIt says:\n{output}")
            place = said.index(wanted, place) + 1

    def _plain(self, line: str) -> str:
        """A line without what differs from run to run: times, sizes of this machine, blanks, digests, the folder."""
        line = line.replace(str(self.folder), "/home/me")
        for said, meant in self.instead.items():
            line = line.replace(meant, said)
        line = re.sub(r"\b\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)?", "TIME", line)
        line = re.sub(r"\b[0-9a-f]{12,}\b", "DIGEST", line)
        line = re.sub(r"\b\d+(\.\d+)? (ms|s|MiB|KiB|GiB)\b", r"# \2", line)
        line = re.sub(r"\b\d+\.\d+\b(?!\.)", "#", line)
        return " ".join(line.split())


def lay_out(folder: Path, *bundles: str) -> None:
    """What the guides take for granted: a model file under the names that they use, and bundles of it."""
    folder.mkdir()
    for name in ("model.onnx", "digits.onnx"):
        shutil.copyfile(EXAMPLE / "digits.onnx", folder / name)
    for bundle in bundles:
        Nimifier(ModelConfig.build({"name": bundle})).create(folder / "model.onnx", folder / bundle)


def record_build(bundle: Path, image: str) -> None:
    """Leave in a bundle what `nimify build` notes there, for a suite that has no engine to build with."""
    record = {"schema_version": 1, "image": {"name": image, "digest": ""}}
    (bundle / "build.json").write_text(json.dumps(record), encoding="utf-8")
