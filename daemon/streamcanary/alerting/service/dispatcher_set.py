"""The dispatchers of all receivers: one for an event receiver, one for each address of a state receiver.

A receiver that a reload changes gets new dispatchers, which begin once the former ones have ended: what is being sent
is neither interrupted nor sent twice, and the order of notifications is kept.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Final, NamedTuple

from streamcanary.alerting.notify.delivery.http import open_http_client
from streamcanary.alerting.notify.page_links import LinkSettings
from streamcanary.alerting.notify.receivers import Receiver, StateReceiver
from streamcanary.alerting.service.dispatcher import EngineHandle, EventDispatcher, PeerHealth, StateDispatcher

_MAX_HANDOVER: Final = 60.0  # seconds; a delivery is bounded by the timeout of its receiver, which is shorter


class _Entry(NamedTuple):
    """A configured receiver, its dispatchers, and the task that runs them."""

    receiver: Receiver
    links: LinkSettings
    dispatchers: tuple[EventDispatcher | StateDispatcher, ...]
    task: asyncio.Task[None]


class DispatcherSet:
    """The dispatchers of the receivers of a configuration, which can be replaced.

    ``is_failing`` returns whether ``ReceiverFailing`` fires for a receiver, by its name.
    """

    def __init__(self, engine: EngineHandle, is_failing: Callable[[str], bool]) -> None:
        self._engine = engine
        self._is_failing = is_failing
        self._receivers: Mapping[str, Receiver] = {}
        self._links = LinkSettings()
        self._tasks: asyncio.TaskGroup | None = None
        self._entries: dict[str, _Entry] = {}

    def __iter__(self) -> Iterator[EventDispatcher | StateDispatcher]:
        return (dispatcher for entry in self._entries.values() for dispatcher in entry.dispatchers)

    def configure(self, receivers: Mapping[str, Receiver], links: LinkSettings) -> None:
        """Replace the receivers. Those that stay equal keep their dispatchers."""
        self._receivers, self._links = receivers, links
        if self._tasks is not None:
            self.start(self._tasks)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Run a dispatcher of each configured receiver in ``tasks``, and let those of other receivers end."""
        self._tasks = tasks
        former, self._entries = self._entries, {}
        for name, receiver in self._receivers.items():
            known = former.pop(name, None)
            if known is not None and known.links == self._links and _is_equal(known.receiver, receiver):
                self._entries[name] = known
                continue
            if known is not None:
                _retire(known)
            dispatchers, run = self._create(name, receiver, None if known is None else known.task)
            task = tasks.create_task(run, name=f"receiver {name}")
            self._entries[name] = _Entry(receiver, self._links, dispatchers, task)
        for entry in former.values():
            _retire(entry)

    def retire(self) -> None:
        """Let all dispatchers end: at once, or after what is being sent."""
        self._receivers = {}
        for entry in self._entries.values():
            _retire(entry)

    @property
    def have_ended(self) -> bool:
        """Whether all dispatchers have ended."""
        return all(entry.task.done() for entry in self._entries.values())

    def stop(self) -> None:
        """Forget all dispatchers; their tasks have ended with the group of tasks."""
        self._tasks = None
        self._entries.clear()

    def wake(self) -> None:
        """Let all dispatchers check what is due."""
        for dispatcher in self:
            dispatcher.wake.set()

    def _create(
        self, name: str, receiver: Receiver, former: "asyncio.Task[None] | None"
    ) -> tuple[tuple[EventDispatcher | StateDispatcher, ...], Coroutine[Any, Any, None]]:
        """Return the dispatchers of ``receiver``, and what runs them once the task ``former`` has ended."""
        http, peer_health = open_http_client(receiver.connection_settings), PeerHealth()
        dispatchers: tuple[EventDispatcher | StateDispatcher, ...]
        if isinstance(receiver, StateReceiver):
            dispatchers = tuple(
                StateDispatcher(name, receiver, url, self._engine, http, peer_health, self._links)
                for url in receiver.urls
            )
        else:
            dispatchers = (EventDispatcher(name, receiver, self._engine, http, self._links),)

        async def run() -> None:
            async with http:
                if former is not None:
                    await asyncio.wait({former}, timeout=_MAX_HANDOVER)
                    former.cancel()
                if isinstance(receiver, StateReceiver) and self._is_failing(name):
                    peer_health.refusing_urls.update(receiver.urls)
                async with asyncio.TaskGroup() as tasks:
                    for dispatcher in dispatchers:
                        tasks.create_task(dispatcher.run(), name=f"receiver {name}")

        return dispatchers, run()


def _is_equal(one: Receiver, other: Receiver) -> bool:
    """Return whether both have the same configuration; what a receiver keeps while it runs does not count."""
    return type(one) is type(other) and one.__dict__ == other.__dict__


def _retire(entry: _Entry) -> None:
    for dispatcher in entry.dispatchers:
        dispatcher.retire()
