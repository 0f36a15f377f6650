"""Whether a delivery may be sent at this moment: only by the replica that owns alerting.

A process that was stopped continues where it was, perhaps between two steps of a delivery, and another replica may have
sent the notification meanwhile. So it is checked as late as possible: before each write of a request to its connection.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

_WRITES: Final = (".send_request_headers.started", ".send_request_body.started")  # of HTTP/1.1 and HTTP/2

Permission = Callable[[], bool]
"""Returns whether a delivery may be sent now. It is called in the thread that sends."""


class SendForbidden(Exception):
    """The lease of alerting has expired: another replica sends what is pending."""

    def __init__(self) -> None:
        super().__init__("not sent: the lease of alerting has expired")


def _always() -> bool:
    return True


_permission: ContextVar[Permission] = ContextVar("streamcanary.send_permission", default=_always)


@contextmanager
def sending_while(permission: Permission) -> Iterator[None]:
    """Send in this block only while ``permission`` returns true."""
    token = _permission.set(permission)
    try:
        yield
    finally:
        _permission.reset(token)


def current_permission() -> Permission:
    """Return the permission of the delivery that is being sent."""
    return _permission.get()


def check_permission() -> None:
    """Check that the current delivery may be sent.

    Raises:
        SendForbidden: if not.
    """
    if not _permission.get()():
        raise SendForbidden


def request_trace() -> Callable[[str, dict[str, Any]], Any]:
    """Return the ``trace`` extension of an HTTP request that raises :class:`SendForbidden` where it must not be sent.

    The HTTP library calls it when the connection is open, directly before it writes the request.
    """
    permission = _permission.get()

    async def check(event: str, _: dict[str, Any]) -> None:
        if event.endswith(_WRITES) and not permission():
            raise SendForbidden

    return check
