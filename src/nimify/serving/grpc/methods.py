"""What can be called: each method with how its messages are read and who answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nimify.serving.grpc.codec import Content

if TYPE_CHECKING:
    from nimify.serving.grpc.call import Call


class Session(Protocol):
    """The service's side of a call with a stream of messages."""

    @property
    def accepting(self) -> bool:
        """Whether it wants further messages now."""
        ...

    @property
    def busy(self) -> bool:
        """Whether it owes an answer."""
        ...

    def message(self, content: Content) -> None:
        """A message has arrived.

        Raises:
            RequestFault: It ends the call.
        """
        ...

    def half_closed(self) -> None:
        """The client has sent its last message."""
        ...

    def writable(self) -> None:
        """Some of what was sent has left."""
        ...

    def gone(self, *, timed_out: bool) -> None:
        """Nobody waits for answers any more."""
        ...


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """One message, one answer.

    Attributes:
        name: Without package and service; the label of its metrics.
        read: Makes the request of a message's bytes.
        handle: Answers by calling `Call.reply`, now or later; raises `RequestFault` for what it refuses at once.
    """

    name: str
    read: Callable[[Any], Any]
    handle: Callable[[Call, Any], None]


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """Messages and answers in streams.

    Attributes:
        name: Without package and service; the label of its metrics.
        open: Begins the service's side of a call.
    """

    name: str
    open: Callable[[Call], Session]


Method = UnaryMethod | StreamMethod

Methods = dict[bytes, Method]
"""Methods by `/package.Service/Method`."""
