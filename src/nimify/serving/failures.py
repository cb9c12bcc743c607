"""What a client is told when something fails that should not have: little. The log is told everything.

Running out of memory is no fault of the request's and none of the code's: it may be sent again, and the log has a line
of it instead of a traceback, because such lines come in floods.
"""

from __future__ import annotations

import errno

from nimify.serving.faults import Kind, RequestFault
from nimify.serving.logs import Log


def failure(error: BaseException, event: str, *, log: Log, request_id: str) -> RequestFault:
    """The fault that a request is answered with; one that is a fault already stays as it is.

    Args:
        error: What was raised.
        event: What failed, for the log.
        log: Where the details go.
        request_id: What the client can name it by.
    """
    if isinstance(error, RequestFault):
        return error
    if is_out_of_memory(error):
        log.warning("out of memory", during=event, request_id=request_id)
        return out_of_memory()
    log.exception(event, error, request_id=request_id)
    return RequestFault(Kind.INTERNAL, f"The service failed; the log has the details under {request_id}.")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether there was no memory for something."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


def out_of_memory() -> RequestFault:
    """The fault of a request that there was no memory for."""
    return RequestFault(Kind.UNAVAILABLE, "There is no memory for this request now; try again.", retry_after_s=1)
