"""The verb ``mcp``: serves a running daemon to agents, by the Model Context Protocol."""

import argparse
import asyncio
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from streamcanary.cli.daemon_client import DaemonRequestError, open_client

if TYPE_CHECKING:
    from pathlib import Path

    from streamcanary.cli.mcp_server.server import Probe
    from streamcanary.model.outcome import Outcome

_MAX_PORT = 65535


def main(arguments: argparse.Namespace) -> int:
    """Serve until stdin ends, or until a signal with ``--http``; return 0, or 2 for invalid arguments."""
    if find_spec("mcp") is None:
        print("streamcanary: mcp needs the package mcp: pip install 'streamcanary[mcp]'", file=sys.stderr)
        return 2
    if arguments.http is not None:
        if arguments.allow_probe or arguments.allow_silence:
            print(
                "streamcanary: --allow-probe and --allow-silence need stdio: every program on this machine can "
                "connect to --http; leave one of them out",
                file=sys.stderr,
            )
            return 2
        if not 1 <= arguments.http <= _MAX_PORT:
            print(f"streamcanary: --http must be a port from 1 to {_MAX_PORT}, not {arguments.http}", file=sys.stderr)
            return 2
    return _serve(arguments)


def _serve(arguments: argparse.Namespace) -> int:
    from streamcanary.cli.load_config import UsageError
    from streamcanary.cli.mcp_server.server import create_server

    try:
        probe, probed = (None, ()) if arguments.allow_probe is None else _probe(arguments.allow_probe)
        with open_client(arguments) as client:
            server = create_server(client, probe=probe, probed=probed, may_silence=arguments.allow_silence)
            if arguments.http is None:
                asyncio.run(server.run_stdio_async())
            else:
                print(f"serving http://127.0.0.1:{arguments.http}/mcp", file=sys.stderr)
                asyncio.run(server.run_streamable_http_async(host="127.0.0.1", port=arguments.http))
    except (UsageError, DaemonRequestError) as error:
        if str(error):
            print(f"streamcanary: {error}", file=sys.stderr)
        return 2
    return 0


def _probe(file: "Path") -> "tuple[Probe, tuple[str, ...]]":
    """Return what runs a canary of the configuration once, and the names of its canaries.

    Only these: with an address of its choice, an agent could send the key of a target to somebody else. An agent that
    asks again and again spends at most ``budget.usd_per_day`` in all.
    """
    from streamcanary.canary.runners import CanaryRunners
    from streamcanary.canary.spend.guard import prices_by_canary
    from streamcanary.cli.load_config import load_config
    from streamcanary.cli.mcp_server.server import ProbeRefused
    from streamcanary.model.clock import SystemClock

    settings, clock = load_config(file), SystemClock()
    limit, spent = settings.budget.usd_per_day, 0.0

    async def probe(name: str) -> "Outcome":
        nonlocal spent
        if limit is not None and spent >= limit:
            raise ProbeRefused(f"budget.usd_per_day is spent: the probes of this session have cost {spent:.4f} USD")
        canaries = {name: settings.canaries[name]}
        async with CanaryRunners(settings.targets, canaries, clock=clock) as runners:
            runners.prepare(settings.targets, canaries, prices_by_canary(settings.budget, settings.targets, canaries))
            runners.apply()
            outcome = await runners.by_name[name](clock.time())
        spent += outcome.cost or 0.0
        return outcome

    return probe, tuple(settings.canaries)
