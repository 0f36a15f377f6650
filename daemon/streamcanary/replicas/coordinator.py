"""The leases of this replica: joins, renews, takes what is assigned to it, and hands over what is not.

    join ─▶ renew every second ─▶ assignment ─┬▶ acquire what is free ─▶ users: gained
      ▲                                       └▶ users: releasing ─▶ release what others should own
      └── lost: not renewed in time, or fenced ─▶ users: lost

Each renewal answers who is alive and who owns what, so that a release is noticed within a second; a replica that waits
for one renews more often, so that it is noticed within a quarter of that. Nothing is pushed: LISTEN needs a connection
to the server itself, and behind a pooler that shares connections by transaction no notification arrives. The leases end
``ttl`` seconds after the last renewal was sent, by the clock of this replica; until then :meth:`Coordinator.is_valid`
answers without asking anybody. The store decides who owns what, and fences commits of former owners.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from random import Random
from typing import Any, Final, Self, TypeVar

from streamcanary.model.clock import Clock, LeaseClock
from streamcanary.model.replicas import ALERTS, Membership
from streamcanary.model.status.replicas import ReplicasStatus
from streamcanary.replicas.assignment import Assignment, assign
from streamcanary.replicas.held_leases import HeldLease, HeldLeases
from streamcanary.replicas.lease_report import LeaseReport
from streamcanary.replicas.lease_store import LeaseStore
from streamcanary.replicas.lease_user import LeaseUser
from streamcanary.replicas.lease_users import LeaseUsers
from streamcanary.replicas.metrics import LossReason
from streamcanary.replicas.status import owner_of_alerts, replica_rows, shards_without_owner
from streamcanary.store.errors import SessionLost, StoreError

_log = logging.getLogger(__name__)

T = TypeVar("T")

DEFAULT_TTL: Final = 15.0
"""Seconds for which a lease lasts without a renewal."""

DEFAULT_POLL: Final = 1.0
"""Seconds between two renewals, which show at once what others have released."""

_USER_TIMEOUT: Final = 10.0  # seconds for users to begin or to finish their work
_WAITING_POLL: Final = 0.25  # part of the usual time between two renewals, while this replica waits for a release
_LEAVE_TIMEOUT: Final = 2.0  # seconds; without an answer, successors wait until the leases expire
_JOIN_DELAY: Final = 2.0  # seconds between two attempts to join


class Coordinator:
    """The leases of this replica. An async context manager: :meth:`hand_over` is its end.

    ``name`` and ``address`` are those that others see; ``generation`` and ``config`` (a digest) tell which
    configuration is the current one. Leases last for ``ttl`` seconds, and are renewed every ``poll`` seconds, at least
    three times as often. ``user_timeout`` is how long the users may take to begin or to finish their work.
    ``on_session`` is called with the number of each new session, before it owns anything, ``on_membership`` with who is
    alive and who owns what, when that changes; neither may block.
    """

    def __init__(
        self,
        store: LeaseStore,
        *,
        name: str,
        generation: int = 0,
        config: str = "",
        address: str = "",
        ttl: float = DEFAULT_TTL,
        poll: float = DEFAULT_POLL,
        user_timeout: float = _USER_TIMEOUT,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self._store = store
        self._name, self._address = name, address
        self._generation, self._config = generation, config
        self._ttl = ttl
        self._poll = min(poll, ttl / 3)
        self._clock = clock or LeaseClock()
        self._random = random or Random()  # noqa: S311 - spreads renewals, keeps no secret
        self._users = LeaseUsers(user_timeout)
        self.on_session: Callable[[int], None] = lambda session: None
        self.on_membership: Callable[[Membership], None] = lambda membership: None
        self._held: HeldLeases | None = None
        self._former_session: int | None = None  # lost, but perhaps not yet ended in the database
        self._membership = Membership()
        self._renewed_at = 0.0  # seconds since the epoch
        self._waits_until = 0.0  # until when others may need to release what this replica should own
        self._assignment = Assignment()
        self._transitions: set[asyncio.Task[None]] = set()  # they take and release leases
        self._gains: set[asyncio.Task[None]] = set()  # those that take
        self._is_settled = False  # whether nothing was to be taken or released, and nothing has changed since
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._is_draining = False
        self._has_left = False
        self._report = LeaseReport(name)

    def add_user(self, user: LeaseUser) -> None:
        """Let ``user`` work under the leases; before the start."""
        self._users.add(user)

    # ---- what this replica owns; never waits

    def is_valid(self) -> bool:
        """Return whether this replica has a session that has not expired."""
        return self._held is not None and self._clock.monotonic() < self._held.valid_until

    @property
    def session(self) -> int | None:
        """The session of this replica, ``None`` if it has none that is valid."""
        return self._held.session if self._held is not None and self.is_valid() else None

    def epoch(self, resource: str) -> int | None:
        """Return the epoch under which this replica owns ``resource``, ``None`` if it does not."""
        lease = self._held.leases.get(resource) if self._held is not None and self.is_valid() else None
        return None if lease is None else lease.epoch

    @property
    def owned(self) -> frozenset[str]:
        """The resources that this replica owns."""
        return frozenset(self._held.leases) if self._held is not None and self.is_valid() else frozenset()

    def status(self) -> ReplicasStatus:
        """Return what this replica knows about itself and the others."""
        owned, held = self.owned, self._held
        return ReplicasStatus(
            name=self._name,
            session=self.session,
            valid_for=max(0.0, held.valid_until - self._clock.monotonic()) if held is not None else 0.0,
            shards=len(owned) - (ALERTS in owned),
            owns_alerts=ALERTS in owned,
            draining=self._is_draining,
            standby=self._report.standby,
            problem=self._report.problem,
            replicas=replica_rows(self._membership, self._assignment),
            alerts_owner=owner_of_alerts(self._membership),
            shards_without_owner=shards_without_owner(self._membership),
            replicas_as_of=self._renewed_at,
        )

    # ---- what others report

    def set_config(self, generation: int, config: str) -> None:
        """Announce at once that this replica has another configuration, after a reload."""
        self._generation, self._config = generation, config
        self._wake.set()

    def report_session_lost(self, session: int) -> None:
        """Report that the store has refused a commit of ``session``; a former session changes nothing."""
        if self._held is not None and self._held.session == session:
            self._lose(self._held, LossReason.FENCED)

    def report_refused(self) -> None:
        """Report that the store has refused the epoch of a resource: check at once what this replica owns."""
        self._wake.set()

    # ---- start and end

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._run(), name="leases"),
            asyncio.create_task(self._watch(), name="end of the leases"),
        ]
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.hand_over()

    async def hand_over(self, user_timeout: float | None = None) -> None:
        """Let all users finish, and leave: successors take over within a second or two. Takes a limited time.

        ``user_timeout`` is how long the users may take, if it is less than usual.
        """
        if self._is_draining:
            return
        self._is_draining = True
        self._users.limit(user_timeout)
        self._wake.set()  # others must assign nothing to this replica any more
        if self._held is not None:
            await _cancel(self._gains)
            self._start(self._finish_all(self._held))
            await asyncio.wait(self._transitions)
        held, self._held = self._held, None
        await _cancel({*self._tasks, *self._transitions})
        await self._leave(held.session if held is not None else self._former_session)
        self._report.record_owned(())
        self._report.problem = "it has left"

    async def _finish_all(self, held: HeldLeases) -> None:
        resources = frozenset(held.leases) - held.releasing
        held.releasing |= resources
        if resources and not await self._users.releasing(resources):
            self._users.lost(resources)  # stops what has not finished

    async def _leave(self, session: int | None) -> None:
        if session is None:
            return
        try:
            async with asyncio.timeout(_LEAVE_TIMEOUT):
                await self._store.leave(session)
        except (StoreError, TimeoutError) as error:
            _log.warning("replica left without an answer of the database", extra={"error": str(error)})
        else:
            _log.info("replica left", extra={"replica": self._name, "session": session})

    # ---- renewal

    async def _run(self) -> None:
        while True:
            delay = self._poll * self._random.uniform(0.9, 1.1)
            try:
                if self._held is None and not self._is_draining:
                    await self._join()
                if self._held is not None:
                    await self._renew(self._held)
                    delay *= _WAITING_POLL if self._clock.monotonic() < self._waits_until else 1.0
            except (StoreError, TimeoutError) as error:
                self._report.record_failure(str(error) or f"no answer within {self._ttl / 3:g} s")
                delay = self._random.uniform(0.5, 1.0) * (self._poll if self._held else _JOIN_DELAY)
            except Exception:  # noqa: BLE001 - logged; renewals must go on, or everything that is owned is lost
                _log.exception("lease renewal failed")
            await self._wait(delay)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _join(self) -> None:
        await self._users.settle()
        if self._former_session is not None:
            await self._ask(self._store.leave(self._former_session))
            self._former_session = None
        sent = self._clock.monotonic()
        replica = await self._ask(
            self._store.join(
                self._name, generation=self._generation, config=self._config, address=self._address, ttl=self._ttl
            )
        )
        self.on_session(replica.session)
        self._held = HeldLeases(replica, sent + self._ttl)
        _log.info("replica joined", extra={"replica": self._name, "session": replica.session})

    async def _renew(self, held: HeldLeases) -> None:
        sent = self._clock.monotonic()
        if sent >= held.valid_until:
            return self._lose(held, LossReason.EXPIRED)
        try:
            membership = await self._ask(
                self._store.renew(
                    held.session,
                    ttl=self._ttl,
                    generation=self._generation,
                    config=self._config,
                    draining=self._is_draining,
                )
            )
        except SessionLost:
            return self._lose(held, LossReason.FENCED)
        now = self._clock.monotonic()
        if held is not self._held:
            return None
        if now >= held.valid_until:  # this replica counts as deposed since then, whatever the answer
            return self._lose(held, LossReason.EXPIRED)
        held.valid_until, self._renewed_at = sent + self._ttl, self._clock.time()
        self._report.record_renewal(now - sent)
        if membership != self._membership:
            self._membership, self._assignment = membership, assign(membership)
            self._is_settled = False
            self._waits_until = now + _USER_TIMEOUT if held.waits(self._assignment.owners, membership) else 0.0
            self._report.record_standby(self._assignment.standby.get(held.session, ""))
            self.on_membership(membership)
        if not self._is_settled:
            self._apply(held, sent, now)
        return None

    async def _ask(self, answer: Awaitable[T]) -> T:
        """Wait for the store, for a third of the time of a lease at most.

        Raises:
            TimeoutError: if it takes longer.
        """
        async with asyncio.timeout(self._ttl / 3):
            return await answer

    def _apply(self, held: HeldLeases, sent: float, now: float) -> None:
        """Take and release what the assignment says, in tasks of their own: renewals go on meanwhile."""
        if taken := held.taken_by_others(self._membership, sent):
            self._lose_some(held, taken, LossReason.TAKEN)
        if self._is_draining:
            return
        owners = self._assignment.owners
        to_take = held.to_take(owners, self._membership, now)
        to_release = held.to_release(owners)
        to_release_again = held.to_release_again(owners, self._membership)
        self._is_settled = not (to_take or to_release or to_release_again or held.has_postponed)
        if to_take:
            held.gaining |= to_take
            task = self._start(self._gain(held, to_take))
            self._gains.add(task)
            task.add_done_callback(self._gains.discard)
        if to_release:
            held.releasing |= to_release
            self._start(self._finish(held, to_release))
        if to_release_again:
            held.releasing |= to_release_again
            self._start(self._release(held, to_release_again))

    # ---- transitions

    def _start(self, transition: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(transition)
        self._transitions.add(task)
        task.add_done_callback(self._has_ended)
        return task

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        self._transitions.discard(task)
        self._is_settled = False

    async def _gain(self, held: HeldLeases, resources: Collection[str]) -> None:
        try:
            taken = await self._ask(self._store.acquire(held.session, resources))
            now = self._clock.monotonic()
            held.leases |= {resource: HeldLease(lease.epoch, now) for resource, lease in taken.items()}
            self._report.record_taken(taken)
            self._report.record_owned(held.leases)
            if not taken:
                return
            if not await self._users.gained(taken):
                held.postpone(taken, self._clock.monotonic() + self._ttl)
                self._lose_some(held, taken, LossReason.FAILED)
        except SessionLost:
            self._lose(held, LossReason.FENCED)
        except (StoreError, TimeoutError) as error:  # the next renewal shows what is still to be taken
            self._report.record_failure(str(error) or f"no answer within {self._ttl / 3:g} s")
        finally:
            held.gaining.difference_update(resources)

    async def _finish(self, held: HeldLeases, resources: Collection[str]) -> None:
        """Let the users finish their work, and release ``resources``."""
        try:
            if not await self._users.releasing(resources):
                self._users.lost(resources)  # stops what has not finished
        except asyncio.CancelledError:
            held.releasing.difference_update(resources)
            raise
        held.remove(resources)
        self._report.record_owned(held.leases)
        await self._release(held, resources)

    async def _release(self, held: HeldLeases, resources: Collection[str]) -> None:
        try:
            await self._ask(self._store.release(held.session, resources))
            self._report.record_released(resources)
        except (StoreError, TimeoutError) as error:  # the next renewal shows what is still to be released
            self._report.record_failure(str(error) or f"no answer within {self._ttl / 3:g} s")
        finally:
            held.releasing.difference_update(resources)

    # ---- losses

    async def _watch(self) -> None:
        """End the leases when they expire, also while a renewal hangs."""
        while True:
            held = self._held
            remaining = self._ttl if held is None else held.valid_until - self._clock.monotonic()
            if held is not None and remaining <= 0:
                self._lose(held, LossReason.EXPIRED)
            else:
                await asyncio.sleep(min(remaining, self._ttl))

    def _lose(self, held: HeldLeases, reason: LossReason) -> None:
        """End the session at once; :meth:`_run` joins with a new one."""
        if held is not self._held:
            return
        self._held, self._former_session = None, held.session
        self._report.problem = f"its leases are lost: {reason.value}"
        for task in self._transitions - {asyncio.current_task()}:
            task.cancel()
        self._lose_some(held, frozenset(held.leases), reason)
        self._wake.set()

    def _lose_some(self, held: HeldLeases, resources: Collection[str], reason: LossReason) -> None:
        held.remove(resources)
        self._users.lost(resources)
        self._report.record_lost(held.session, resources, reason)
        self._report.record_owned(held.leases)


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    tasks = tuple(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
