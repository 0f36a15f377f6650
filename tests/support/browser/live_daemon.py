"""A daemon as a process of its own, with a provider whose fault a test sets, and its status page."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from support.programs.daemon import Daemon
from support.programs.program import free_ports
from support.servers.provider import MODEL, FakeProvider
from support.servers.receiver import SECRET, FakeReceiver


class LiveDaemon(NamedTuple):
    """The daemon, what it probes and notifies, and the address of its page without a slash at the end."""

    daemon: Daemon
    provider: FakeProvider
    receiver: FakeReceiver
    address: str


@asynccontextmanager
async def live_daemon(folder: Path, **sections: Any) -> AsyncIterator[LiveDaemon]:
    """Run a daemon with two canaries of which ``chat`` plays the fault that is set, and an alert for it.

    ``sections`` replace those of the configuration. The port stays the same when the daemon is started again.
    """
    [port] = free_ports(1)
    async with FakeProvider() as provider, FakeReceiver() as receiver:
        config = _config(provider, receiver, port) | sections
        async with Daemon(folder, config) as daemon:
            yield LiveDaemon(daemon, provider, receiver, f"http://127.0.0.1:{port}")


def _config(provider: FakeProvider, receiver: FakeReceiver, port: int) -> dict[str, Any]:
    timeouts = {"first_token": "1s", "stall": "200ms", "total": "1800ms"}
    canary = {"target": "openai", "every": "2s", "timeouts": timeouts, "labels": {"tier": "prod"}}
    rule = {
        "match": ['tier="prod"'],
        "detector": {"type": "consecutive", "failures": 2},
        "labels": {"severity": "page"},
    }
    return {
        "instance": "live",
        "targets": {"openai": {"base_url": provider.base_url, "api_key": "none", "provider": "simulator"}},
        "canaries": {
            "chat": {
                **canary,
                "model": MODEL,
                "retry": {"max_attempts": 3, "base_delay": "50ms", "max_delay": "100ms"},
            },
            "steady": {**canary, "model": "sim-ok"},
        },
        "alerts": {
            "group_wait": 0,
            "rules": {"Down": rule},
            "receivers": {"pager": {"type": "webhook", "url": receiver.url, "secret": SECRET}},
        },
        "web": {"port": port},
    }
