"""What a running daemon says of its canaries: by the API, by events, and after a restart."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2

from support.programs.daemon import Daemon
from support.servers.provider import MODEL, FakeProvider


async def client_of(daemon: Daemon) -> httpx2.AsyncClient:
    """Return a client of the daemon."""
    line = await daemon.wait_for_log("web server started")
    return httpx2.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{line['port']}", timeout=20)


async def events_until(lines: AsyncIterator[str], kind: str, text: str) -> dict[str, Any]:
    """Read events until one of ``kind`` contains ``text``; return its data."""
    event = ""
    async for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "data" and event == kind and text in value:
            found: dict[str, Any] = json.loads(value)
            return found
    raise AssertionError("the stream has ended")


async def test_an_outage_shows_in_events_and_the_status_survives_a_restart(tmp_path: Path) -> None:
    """The canary fails, its alert fires, and a new process knows since when."""
    async with FakeProvider("ok") as provider:
        config: dict[str, Any] = {
            "targets": {"sim": {"base_url": provider.base_url, "api_key": "none", "provider": "simulator"}},
            "canaries": {"chat": {"target": "sim", "model": MODEL, "every": "1s", "retry": {"max_attempts": 1}}},
            "alerts": {
                "rules": {"Down": {"detector": {"type": "consecutive", "failures": 2}, "labels": {"severity": "page"}}}
            },
        }
        async with asyncio.timeout(60), Daemon(tmp_path, config) as daemon:
            await daemon.wait_for_log("run finished", outcome="ok")
            async with await client_of(daemon) as http, http.stream("GET", "/api/v1/events") as response:
                lines = response.aiter_lines()
                await events_until(lines, "summary", "The canary chat answers")
                provider.set_fault("cut")
                summary = await events_until(lines, "summary", '"state":"failing"')
            assert "sim: chat fails (stream cut off)" == summary["sentence"]
            await daemon.terminate()
            await daemon.start()
            async with await client_of(daemon) as http:
                while (status := (await http.get("/api/v1/canaries/chat")).json()["status"])["month"] is None:
                    await asyncio.sleep(0.05)
    assert ("failing", ["Down"], "stream_cut") == (status["state"], status["alerts"], status["fault"])
    assert summary["since"] == status["since"]
    assert status["recent_runs"][0]["outcome"] == "ok"
    assert status["next_run"] > status["recent_runs"][-1]["started"]
