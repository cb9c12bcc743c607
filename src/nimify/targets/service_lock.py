"""One change of a service at a time, among all that go out from this machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nimify.errors import NotDeployed
from nimify.targets.state_folder import private_folder


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Be the only one who changes the service of this folder; the holder's death ends it.

    Raises:
        NotDeployed: Somebody else is at it.
    """
    private_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotDeployed(
                f"Another nimify is changing '{folder.name}' right now.", remedy="Wait until it is done."
            ) from None
        yield
    finally:
        os.close(descriptor)
