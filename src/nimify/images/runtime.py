"""What starts an image so that it can prove itself: docker or podman, which take the same arguments."""

from __future__ import annotations

import datetime
import resource
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from nimify.artifacts.image import CACHE_FOLDER
from nimify.programs import Program, ProgramFailed

LABEL: Final = "io.nimify.proof"
_NAME: Final = "nimify-proof-"
_LEAST_UID: Final = 100_000
_UIDS: Final = 900_000
PIDS: Final = 4096
"""Processes and threads that a service may have."""
_FILES: Final = 1 << 20
"""Files that it may have open, as Docker's own default has it."""
_START_S: Final = 120.0
_TAIL: Final = 40
_LATE_S: Final = 5.0
"""How long after its client's end an engine may still make a container."""
_LOOK_S: Final = 0.1


def hardened(*, memory_bytes: int, tmp_bytes: int, cache_bytes: int, pids: int) -> list[str]:
    """The arguments that leave a container no more rights than a service needs, in a proof as in a deployment.

    Args:
        memory_bytes: What it may use; 0 for no limit.
        tmp_bytes: Room in /tmp.
        cache_bytes: Room in the cache folder.
        pids: Processes and threads that it may have.
    """
    return [
        "--read-only",
        # The user may be any, so both are open to all, as /tmp is everywhere.
        f"--tmpfs=/tmp:rw,noexec,nosuid,nodev,mode=1777,size={tmp_bytes}",
        f"--tmpfs={CACHE_FOLDER}:rw,nosuid,nodev,mode=1777,size={cache_bytes}",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        f"--pids-limit={pids}",
        # As much swap as memory: none, so that a leak ends in a restart and not in a slow machine.
        *([f"--memory={memory_bytes}", f"--memory-swap={memory_bytes}"] if memory_bytes else []),
    ]


@dataclass(frozen=True, slots=True)
class Confinement:
    """How little a container may do while it proves itself.

    Attributes:
        memory_bytes: What it may use; it is killed beyond that.
        tmp_bytes: Room in /tmp.
        cache_bytes: Room in the cache folder.
        platform: e.g. `linux/amd64`; empty for the runtime's own.
        uid: A user that the image does not know: any must do.
        gid: OpenShift gives the group 0, NVIDIA's operator 2000.
    """

    memory_bytes: int
    tmp_bytes: int
    cache_bytes: int
    platform: str = ""
    uid: int = field(default_factory=lambda: _LEAST_UID + secrets.randbelow(_UIDS))
    gid: int = field(default_factory=lambda: secrets.choice((0, 2000)))

    @property
    def user(self) -> str:
        """As `--user` takes it."""
        return f"{self.uid}:{self.gid}"

    def arguments(self) -> list[str]:
        """Those of `run`: no network, no rights, a read-only root."""
        return [
            f"--user={self.user}",
            "--network=none",
            *hardened(
                memory_bytes=self.memory_bytes, tmp_bytes=self.tmp_bytes, cache_bytes=self.cache_bytes, pids=PIDS
            ),
            *([f"--platform={self.platform}"] if self.platform else []),
        ]


@dataclass(frozen=True, slots=True)
class State:
    """How a container is.

    Attributes:
        running: Whether it runs.
        exit_code: Of its process, when it does not.
        out_of_memory: Whether the kernel killed it for its memory.
        error: What the runtime says; may be empty.
    """

    running: bool
    exit_code: int
    out_of_memory: bool
    error: str


@dataclass(frozen=True, slots=True)
class Runtime:
    """Something that starts containers.

    Attributes:
        program: `docker` or `podman`.
        image: What the image is called there.
        temporary: Whether the image was brought there for the proof alone, so that it goes with it.
    """

    program: Program
    image: str
    temporary: bool = False

    def start(self, confinement: Confinement, environment: Mapping[str, str]) -> Trial:
        """Start the image in a container of its own; whoever starts it ends it with `Trial.remove`.

        Raises:
            ProgramFailed: It cannot be started.
        """
        trial = Trial(self.program, f"{_NAME}{secrets.token_hex(6)}")
        try:
            self.program.run(
                "run",
                "--detach",
                f"--name={trial.name}",
                f"--label={LABEL}=true",
                "--pull=never",
                "--no-healthcheck",
                *(_own_limits() if self.program.name == "podman" else ()),
                *confinement.arguments(),
                *(f"--env={name}={value}" for name, value in environment.items()),
                self.image,
                timeout_s=_START_S,
            )
        except ProgramFailed:
            trial.remove()
            raise
        except BaseException:
            trial.remove_when_there()
            raise
        return trial

    def close(self) -> None:
        """Remove the image again if it was brought for the proof alone."""
        if self.temporary:
            with suppress(ProgramFailed):
                self.program.run("rmi", "--force", self.image)


def _own_limits() -> Iterator[str]:
    """Limits that podman may set for whoever calls it; its own, a million open files, it may not set everywhere."""
    for name, which, most in (("nofile", resource.RLIMIT_NOFILE, _FILES), ("nproc", resource.RLIMIT_NPROC, PIDS)):
        hard = resource.getrlimit(which)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(hard, most)
        yield f"--ulimit={name}={allowed}:{allowed}"


@dataclass(frozen=True, slots=True)
class Trial:
    """A container that proves its image.

    Attributes:
        program: What runs it.
        name: Of the container.
    """

    program: Program
    name: str

    def ask(self, *command: str, timeout_s: float = 30.0) -> str:
        """Run a program in it; its output.

        Raises:
            ProgramFailed: It cannot be run, or ended with an error.
        """
        return self.program.run("exec", self.name, *command, timeout_s=timeout_s)

    def relay(self) -> list[str]:
        """A command whose standard input and output are joined to the service's port."""
        return self.program.command("exec", "--interactive", self.name, *PROBE, "relay")

    def state(self) -> State:
        """How it is.

        Raises:
            ProgramFailed: There is no such container.
        """
        data: Any = self.program.json("inspect", "--type=container", "--format={{json .State}}", self.name)
        return State(
            running=bool(data.get("Running")),
            exit_code=int(data.get("ExitCode", 0)),
            out_of_memory=bool(data.get("OOMKilled")),
            error=str(data.get("Error") or ""),
        )

    def started_at(self) -> datetime.datetime:
        """When it was started.

        Raises:
            ProgramFailed: There is no such container.
        """
        found: str = self.program.json("inspect", "--type=container", "--format={{json .State.StartedAt}}", self.name)
        return datetime.datetime.fromisoformat(found)

    def log(self) -> tuple[str, ...]:
        """The last lines that it wrote."""
        lines: list[str] = []
        with suppress(ProgramFailed):
            self.program.follow("logs", f"--tail={_TAIL}", self.name, tell=lines.append, timeout_s=_START_S)
        return tuple(line for line in lines if line.strip())

    def stop(self, *, within_s: float) -> int:
        """Ask it to stop, and wait; its exit code.

        Raises:
            ProgramFailed: It cannot be stopped.
        """
        self.program.run("stop", f"--time={within_s:.0f}", self.name, timeout_s=within_s + _START_S)
        return self.state().exit_code

    def remove(self) -> None:
        """Remove it, whether it runs, has ended or never came to be."""
        with suppress(ProgramFailed):
            self.program.run("rm", "--force", "--volumes", self.name)

    def remove_when_there(self) -> None:
        """Remove it though its start was interrupted: the engine may make it a moment after its client is gone."""
        deadline_s = time.monotonic() + _LATE_S
        while time.monotonic() < deadline_s:
            try:
                self.state()
            except ProgramFailed:
                time.sleep(_LOOK_S)
            else:
                break
        self.remove()


PROBE: Final = ("python3", "-m", "nimify.serving.probe")
"""What a container asks itself with."""
