"""Calls everything that works under the leases of this replica, and bounds how long that takes."""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Sequence
from typing import Any, Final

from streamcanary.replicas.lease_user import LeaseUser

_log = logging.getLogger(__name__)

_CANCEL_TIMEOUT: Final = 2.0  # seconds for a cancelled call to end


class LeaseUsers:
    """The lease users of a replica, called at once. One that fails or takes over ``timeout`` seconds is logged."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._users: list[LeaseUser] = []
        self._running: set[asyncio.Task[bool]] = set()

    def add(self, user: LeaseUser) -> None:
        """Call ``user``, too, from the next call on."""
        self._users.append(user)

    def limit(self, timeout: float | None) -> None:
        """Give the users at most ``timeout`` seconds from the next call on."""
        self._timeout = min(self._timeout, timeout or self._timeout)

    async def gained(self, resources: Collection[str]) -> bool:
        """Announce that ``resources`` are owned now; return whether all users succeeded in time."""
        return await self._run([self._call("gained", user, user.gained(resources)) for user in self._users])

    async def releasing(self, resources: Collection[str]) -> bool:
        """Announce that ``resources`` will be released; return whether all users have finished in time."""
        return await self._run([self._call("releasing", user, user.releasing(resources)) for user in self._users])

    def lost(self, resources: Collection[str]) -> None:
        """Announce that ``resources`` are lost."""
        for user in self._users:
            try:
                user.lost(resources)
            except Exception:  # noqa: BLE001 - logged; the other users must stop, too
                _log.exception("lease user failed", extra={"call": "lost", "user": type(user).__name__})

    async def settle(self) -> None:
        """Wait until cancelled calls have ended, for a limited time."""
        if self._running:
            await asyncio.wait(self._running, timeout=_CANCEL_TIMEOUT)

    async def _run(self, calls: Sequence[Coroutine[Any, Any, bool]]) -> bool:
        tasks = [asyncio.create_task(call) for call in calls]
        for task in tasks:
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if not tasks:
            return True
        try:
            _, pending = await asyncio.wait(tasks, timeout=self._timeout)
            if pending:
                _log.error("lease user too slow", extra={"users": len(pending), "seconds": self._timeout})
        finally:
            for task in tasks:
                task.cancel()
        if pending:  # what ignores its cancellation delays the caller no further
            await asyncio.wait(pending, timeout=_CANCEL_TIMEOUT)
        return not pending and all(task.result() for task in tasks)

    async def _call(self, name: str, user: LeaseUser, call: Coroutine[Any, Any, None]) -> bool:
        try:
            await call
        except Exception:  # noqa: BLE001 - logged; the caller gets the result, and the other users continue
            _log.exception("lease user failed", extra={"call": name, "user": type(user).__name__})
            return False
        return True
