"""The interface of a database to the store: transactions, and what is known about their success."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from streamcanary.store.connection import Connection

T = TypeVar("T")


class Backend(Protocol):
    """One database. All methods are called on the event loop, and none of them blocks it."""

    @property
    def location(self) -> str:
        """Where the database is, for messages: a path, or a URL without its password."""
        ...

    @property
    def loss_count(self) -> int:
        """How many times the data that was written earlier was lost since the start."""
        ...

    @property
    def may_be_incomplete(self) -> bool:
        """Whether an earlier process could not save all changes, and no :meth:`mark_complete` has followed."""
        ...

    def is_writable(self) -> bool:
        """Return whether the last write succeeded within the timeout. :meth:`probe` performs a write."""
        ...

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Call ``fn`` in a durable transaction; see :meth:`Store.write`."""
        ...

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Call ``fn`` in a consistent snapshot; see :meth:`Store.read`."""
        ...

    async def probe(self) -> bool:
        """Perform a write that changes nothing, and return :meth:`is_writable`."""
        ...

    async def mark_complete(self) -> None:
        """Record that all changes are saved, those of an earlier process included."""
        ...

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - divided between threads
        """Complete the queued writes and release all resources, within ``timeout`` seconds."""
        ...
