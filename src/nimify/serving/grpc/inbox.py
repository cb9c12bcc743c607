"""What one call receives: as much as was announced, no more than there is memory for, and cut into messages."""

from __future__ import annotations

from nimify.serving.body_budget import BodyBudget
from nimify.serving.faults import Kind, RequestFault
from nimify.serving.grpc.codec import Content, MessageReader
from nimify.serving.grpc.frames import ErrorCode, StreamFault
from nimify.serving.grpc.head import CallHead
from nimify.serving.grpc.windows import STREAM_WINDOW, ReceiveWindow


class Inbox:
    """The receiving side of a call.

    Args:
        longest: Longest message.
        budget: Of the memory of all bodies.

    Attributes:
        window: Bytes that the client may still send.
    """

    __slots__ = ("_announced", "_budget", "_held", "_reader", "_received", "window")

    def __init__(self, head: CallHead, *, longest: int, budget: BodyBudget) -> None:
        self.window = ReceiveWindow(STREAM_WINDOW)
        self._announced = head.content_length
        self._received = 0
        self._reader = MessageReader(longest, head.encoding)
        self._budget = budget
        self._held = 0

    @property
    def partial(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._reader.partial

    def count(self, size: int, *, end: bool) -> None:
        """Count bytes in.

        Raises:
            StreamFault: They are not as many as were announced.
        """
        self._received += size
        announced = self._announced
        if announced >= 0 and (self._received > announced or (end and self._received != announced)):
            raise StreamFault(ErrorCode.PROTOCOL_ERROR)

    def messages(self, content: bytes) -> list[Content]:
        """Keep a piece; the messages that end in it.

        Raises:
            RequestFault: There is no memory for it, or it is no message that we take.
        """
        if not self._budget.take(len(content)):
            raise RequestFault(Kind.UNAVAILABLE, "Too much is being sent at once; try again.", retry_after_s=1)
        self._held += len(content)
        return self._reader.feed(content)

    def release(self) -> None:
        """Count out what was kept: somebody has looked at it, or nobody will."""
        self._budget.give_back(self._held)
        self._held = 0
