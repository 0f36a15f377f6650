"""Daemons that share a PostgreSQL, with a provider that counts their requests and a PagerDuty that tracks incidents."""

import asyncio
import json
import re
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

import psycopg

from support.http_client import loopback_client
from support.programs.daemon import Daemon
from support.programs.program import poll_until
from support.servers.pagerduty import ROUTING_KEY, FakePagerDuty
from support.servers.provider import MODEL, FakeProvider
from support.servers.receiver import HANG, Behaviour, Delivery

INTERVAL: Final = 1.0
"""Seconds between two runs of each canary, unless a test says otherwise."""
LEASE: Final = 3.0
"""Seconds until others take over from a replica that is silent."""
TAKEOVER: Final = LEASE + 2.5
"""Seconds from the end of a replica until each of its canaries has run elsewhere, at most, without its interval."""
CANARIES: Final = ("chat", "search", "summary", "vision", "code", "mail")

_SETTLED_WITHIN = 40.0
_SLACK = 0.8  # seconds by which requests are late on a busy machine
_PROMPT = re.compile(r"canary (\w+) ")


class Pager(FakePagerDuty):
    """A PagerDuty that answers nobody while it ``is_hanging``; those requests open and resolve nothing."""

    is_hanging = False

    def reply(self, delivery: Delivery) -> Behaviour:
        """Validate an event and respond as PagerDuty does."""
        return HANG if self.is_hanging else super().reply(delivery)


class ReplicaSet:
    """``async with ReplicaSet(folder, url) as replicas``: some daemons on the database of ``url``, which tests start.

    ``intervals`` are those of canaries that do not run every ``INTERVAL`` seconds. ``config`` replaces keys of the
    configuration of all.
    """

    def __init__(self, folder: Path, url: str, *, intervals: Mapping[str, float] = {}, **config: Any) -> None:
        self.intervals = {**dict.fromkeys(CANARIES, INTERVAL), **intervals}
        self._folder = folder
        self._url = url
        self._config = config
        self._stack = AsyncExitStack()
        self._stopped: set[str] = set()
        self.provider = FakeProvider()
        self.pager = Pager()
        self.daemons: dict[str, Daemon] = {}

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.provider)
        await self._stack.enter_async_context(self.pager)
        return self

    async def __aexit__(self, *error: object) -> None:
        for name in self.daemons:
            self.resume(name)
            await self.daemons[name].kill()
        await self._stack.aclose()

    def config(self, name: str, *, url: str | None = None, generation: int = 0, **more: Any) -> dict[str, Any]:
        """Return the configuration of the replica ``name``."""
        store = {"url": url or self._url, "lease": f"{LEASE:g}s", "replica": name, "generation": generation}
        return {
            "store": store,
            "targets": {"sim": {"base_url": self.provider.base_url, "api_key": "none", "provider": "simulator"}},
            "canaries": {canary: make_canary(canary, self.intervals[canary]) for canary in CANARIES},
            "alerts": {
                "group_wait": 0,
                "group_interval": "1s",
                "group_by": ["canary"],
                "rules": {
                    "Down": {"detector": {"type": "consecutive", "failures": 2, "resolve_after": 2}},
                    # The first resolve after a first start waits for all rules of its group; these see nothing here.
                    "CertificateExpiring": {"enabled": False},
                    "CertificateExpiringSoon": {"enabled": False},
                },
                "receivers": {
                    "oncall": {
                        "type": "pagerduty",
                        "routing_key": ROUTING_KEY,
                        "url": self.pager.url,
                        "timeout": "2s",
                    }
                },
            },
            **self._config,
            **more,
        }

    # ---- processes

    async def start(self, *names: str, **config: Any) -> None:
        """Start replicas at once, and wait until all that run share all canaries."""
        await self.launch(*names, **config)
        await self.wait_until_shared()

    async def launch(self, *names: str, **config: Any) -> None:
        """Start replicas at once, and wait until their web servers answer."""
        for name in names:
            self.daemons[name] = Daemon(self._folder / name, self.config(name, **config))
        await asyncio.gather(*(self.daemons[name].start() for name in names))
        await asyncio.gather(*(self.daemons[name].wait_for_log("web server started") for name in names))

    async def start_over(self, *names: str, **config: Any) -> None:
        """Start replicas on an empty database, and forget what its first owner of alerts has sent to PagerDuty.

        It knows of no incident that an earlier database may have opened, and resolves all of its canaries.
        """
        await self.start(*names, **config)

        async def has_reconciled() -> bool | None:
            groups = [json.loads(value) for (value,) in self.query("SELECT value FROM groups")]
            is_over = bool(groups) and not any(group.get("is_reconciling") for group in groups)
            return (is_over and len(self.pager.log) >= len(CANARIES)) or None

        await poll_until(has_reconciled, 30.0, lambda: f"groups: {self.query('SELECT value FROM groups')}")  # noqa: S608 - fixed text
        assert {"dropped"} == {action for action, _ in self.pager.log}
        self.pager.log.clear()
        self.pager.deliveries.clear()

    async def kill(self, name: str) -> None:
        """Send SIGKILL to a replica."""
        await self.daemons[name].kill()

    def stop(self, name: str) -> None:
        """Send SIGSTOP to a replica."""
        self._stopped.add(name)
        self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Send SIGCONT to a replica that was stopped."""
        if name in self._stopped:
            self._stopped.discard(name)
            self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, number: signal.Signals) -> None:
        self.daemons[name]._running.send_signal(number)

    @property
    def running(self) -> tuple[str, ...]:
        """The replicas whose processes run, and are not stopped."""
        return tuple(
            name
            for name, daemon in self.daemons.items()
            if daemon._process is not None and daemon._process.returncode is None and name not in self._stopped
        )

    # ---- what replicas say

    async def get(self, name: str, path: str) -> Any:
        """Return the JSON at ``path`` of a replica."""
        async with loopback_client() as client:
            return (await client.get(await self.address(name) + path)).json()

    async def post(self, name: str, path: str, body: Mapping[str, Any]) -> Any:
        """Return the response of a replica to a POST."""
        async with loopback_client() as client:
            return (await client.post(await self.address(name) + path, json=body)).json()

    async def delete(self, name: str, path: str) -> int:
        """Return the status of the response of a replica to a DELETE."""
        async with loopback_client() as client:
            return (await client.delete(await self.address(name) + path)).status_code

    async def address(self, name: str) -> str:
        """Return the URL of the web server of a replica."""
        line = await self.daemons[name].wait_for_log("web server started")
        return f"http://127.0.0.1:{line['port']}"

    async def wait_for(self, name: str, path: str, is_right: Any, within: float = _SETTLED_WITHIN) -> Any:
        """Return the JSON at ``path`` of a replica once ``is_right`` of it."""
        seen: list[Any] = [None]

        async def ask() -> Any:
            try:
                seen[0] = await self.get(name, path)
            except Exception as error:  # noqa: BLE001 - it may not listen yet
                seen[0] = error
                return None
            return seen[0] if is_right(seen[0]) else None

        return await poll_until(ask, within, lambda: f"{name} {path}: {seen[0]}\n{self.daemons[name].stderr[-3000:]}")

    async def wait_until_shared(self, names: Collection[str] | None = None) -> dict[str, Any]:
        """Wait until ``names``, by default those that run, own everything, each a part; return what one says."""
        names = set(self.running if names is None else names)

        def is_shared(status: dict[str, Any]) -> bool:
            rows = {row["name"]: row for row in status["replicas"]}
            return (
                names == rows.keys()
                and status["shards_without_owner"] == 0
                and status["alerts_owner"] in names
                and all(bool(row["shards"]) is not bool(row["standby"]) for row in rows.values())
            )

        statuses = [await self.wait_for(name, "/api/v1/replicas", is_shared) for name in sorted(names)]
        return dict(statuses[0])

    async def owners(self) -> tuple[str, dict[str, Any]]:
        """Return the replica that owns the alerts, and how many canaries each runs."""
        status = await self.wait_until_shared()
        return status["alerts_owner"], {row["name"]: row["canaries"] for row in status["replicas"]}

    async def another_owner(self) -> str:
        """Return a replica that runs canaries, and does not own the alerts."""
        alerts, canaries = await self.owners()
        return max((name for name in canaries if name != alerts), key=lambda name: canaries[name])

    # ---- outage

    async def fail(self) -> None:
        """Let all canaries fail."""
        self.provider.set_fault("500")

    async def recover(self) -> None:
        """Let all canaries succeed, and wait until nothing is open at PagerDuty."""
        self.provider.set_fault("ok")
        await self.wait_for_open(0)

    async def wait_for_open(self, count: int, within: float = 30.0) -> None:
        """Wait until ``count`` incidents are open at PagerDuty."""

        async def has_count() -> bool | None:
            return len(self.pager.open) == count or None

        await poll_until(has_count, within, lambda: f"{len(self.pager.open)} open, not {count}: {self.pager.log}")

    # ---- what the world has seen

    def incidents(self) -> dict[str, list[str]]:
        """Return what happened to each incident at PagerDuty, by its key, in the order of its events."""
        found = defaultdict(list)
        for action, key in self.pager.log:
            found[key].append(action)
        return dict(found)

    @property
    def events(self) -> list[str]:
        """What PagerDuty has accepted: action, key and summary of each event."""
        bodies = [delivery.json for delivery in self.pager.deliveries]
        return [
            f"{body['event_action']} {body['dedup_key'][:6]} {body.get('payload', {}).get('summary', '')}"
            for body in bodies
        ]

    def requests(self) -> dict[str, list[float]]:
        """Return when each canary was asked, in seconds since the epoch."""
        found: dict[str, list[float]] = {canary: [] for canary in CANARIES}
        for request in self.provider.requests:
            if request.model == MODEL and (match := _PROMPT.search(request.body)):
                found.setdefault(match[1], []).append(request.at)
        return found

    def longest_gap(self) -> float:
        """Return the longest time between two requests of one canary."""
        return max(self.longest_gaps().values())

    def longest_gaps(self) -> dict[str, float]:
        """Return the longest time between two requests of each canary."""
        requests = self.requests().items()
        return {name: max(later - earlier for earlier, later in pairwise(times)) for name, times in requests}

    def duplicates(self) -> dict[str, int]:
        """Return how many times each canary was asked again for one due time; canaries without such are left out."""
        found = {}
        for canary, times in self.requests().items():
            # A request that was late is in a later interval: only as many as there are intervals are expected in all.
            extra = len(times) - round((times[-1] - times[0]) / self.intervals.get(canary, INTERVAL)) - 1
            if extra > 0:
                found[canary] = extra
        return found

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query; tables are those of the store."""
        with psycopg.connect(self._url, options="-csearch_path=streamcanary") as connection:
            return connection.execute(sql, parameters).fetchall()  # type: ignore[call-overload, no-any-return]

    async def wait_until_evaluated(self) -> None:
        """Wait until no run waits to be evaluated."""

        async def is_empty() -> bool | None:
            return self.query("SELECT count(*) FROM pending_inputs") == [(0,)] or None

        await poll_until(is_empty, 20.0, lambda: f"pending: {self.query('SELECT kind, run_id FROM pending_inputs')}")  # noqa: S608 - fixed text

    async def end(self) -> dict[str, int]:
        """Let all that run end by SIGTERM, the last once it has evaluated all runs; return :meth:`unrecorded`."""
        until = time.time()
        await asyncio.sleep(max(self.intervals.values()) + _SLACK)  # runs end, and are recorded
        *names, last = self.running
        for name in names:
            assert 0 == (await self.daemons[name].terminate()).code
        await self.wait_until_shared([last])
        await self.wait_until_evaluated()
        assert 0 == (await self.daemons[last].terminate()).code
        return self.unrecorded(until)

    def unrecorded(self, until: float) -> dict[str, int]:
        """Return how many requests before ``until`` have no recorded run; canaries without such are left out."""
        query = "SELECT canary, count(*) FROM runs WHERE kind <> 'skipped' AND started < %s GROUP BY canary"
        recorded = Counter(dict(self.query(query, until)))
        requested = {canary: sum(at < until for at in times) for canary, times in self.requests().items()}
        return {name: count - recorded[name] for name, count in requested.items() if count > recorded[name]}


def make_canary(name: str, interval: float = INTERVAL) -> dict[str, Any]:
    """Return the section of a canary that says its name with each request."""
    return {
        "target": "sim",
        "model": MODEL,
        "every": f"{interval:g}s",
        "prompt": f"canary {name} {{nonce}}",
        "timeouts": {"total": "900ms"},
        "retry": {"max_attempts": 1},
    }


def is_each_incident(incidents: Mapping[str, list[str]], *expected: str, ignoring: str = "") -> bool:
    """Return whether there is an incident for each canary, each with these events; those of ``ignoring`` do not count.

    A trigger that PagerDuty has accepted, and of which the database does not know that, is sent ``again``.
    """
    events = [[event for event in some if event != ignoring] for some in incidents.values()]
    return len(events) == len(CANARIES) and all(some == list(expected) for some in events)
