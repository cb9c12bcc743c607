"""A connection that speaks HTTP/1.1."""

from __future__ import annotations

import httptools

from nimify.loadtest.connection import MAX_ANSWER_BYTES, Answered, Connection, Lost


class HttpConnection(Connection):
    """Requests are whole, as they go over the wire; an answer is right when its status is 200."""

    __slots__ = ("_parser", "_size")

    def __init__(self, answered: Answered, lost: Lost) -> None:
        super().__init__(answered, lost)
        self._parser = httptools.HttpResponseParser(self)
        self._size = 0

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer came."""
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort("no HTTP answer")
            return
        if self._size > MAX_ANSWER_BYTES:
            self.abort("answer too long")

    def on_message_begin(self) -> None:
        """The parser found the start of an answer."""
        self._size = 0

    def on_message_complete(self) -> None:
        """The parser found the end of an answer."""
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            return
        self.keep_alive = self._parser.should_keep_alive()
        self._answered(self, "" if status == 200 else str(status))
