"""The real programs that other tests rely on start, answer and end; and a missing one is told."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from support.programs.alertmanager import Alertmanager

FETCH = Path(__file__).parents[2] / "tools" / "fetch.py"


def fetch(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run ``tools/fetch.py`` with nothing on its PATH and an empty cache, unless ``environ`` says otherwise."""
    return subprocess.run(
        [sys.executable, "-B", str(FETCH), *arguments],
        env={"PATH": "", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.real("alertmanager")
async def test_a_real_alertmanager_takes_and_resolves_an_alert(tmp_path):
    """What is posted fires, goes out to the webhook, and is gone once its end has passed."""
    bodies = asyncio.Queue()

    async def hook(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        bodies.put_nowait(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(hook, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Alertmanager(tmp_path, webhook=f"http://127.0.0.1:{port}/") as am:
            now = datetime.now(UTC)
            for ends, status in ((now + timedelta(minutes=4), b"firing"), (now, b"resolved")):
                alert = {
                    "labels": {"alertname": "LLMErrorSpike"},
                    "startsAt": (now - timedelta(minutes=1)).isoformat(),
                    "endsAt": ends.isoformat(),
                }
                async with httpx2.AsyncClient(trust_env=False) as client:
                    (await client.post(f"{am.url}/api/v2/alerts", json=[alert])).raise_for_status()
                names = [alert["labels"]["alertname"] for alert in await am.alerts()]
                assert names == (["LLMErrorSpike"] if status == b"firing" else [])
                body = await asyncio.wait_for(bodies.get(), 20)
                assert b'"status":"' + status + b'"' in body


@pytest.mark.real("alertmanager")
async def test_programs_end_with_their_block(tmp_path):
    """Neither a normal end nor an exception leaves a process behind."""
    am = Alertmanager(tmp_path)
    with pytest.raises(ZeroDivisionError):
        async with am:
            pid = am._process.pid
            raise ZeroDivisionError
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_missing_program_is_no_failure_on_a_laptop(tmp_path):
    """Where a program cannot be had the reason is told, and ``make test`` goes on."""
    outcome = fetch(XDG_CACHE_HOME=str(tmp_path))
    assert (outcome.returncode, outcome.stdout) == (0, "")
    assert "otelcol: the OpenTelemetry Collector is built with Go" in outcome.stderr
    assert "alertmanager: install Alertmanager" in outcome.stderr
    assert "promtool: install Prometheus, for its promtool" in outcome.stderr


def test_a_missing_program_is_a_failure_in_ci(tmp_path):
    """With ``CI=true`` the tests must not be skipped quietly."""
    assert fetch(XDG_CACHE_HOME=str(tmp_path), CI="true").returncode == 1


def test_looking_for_a_program_fetches_nothing(tmp_path):
    """``--find`` only looks, and says how to get what is missing."""
    outcome = fetch("--find", "otelcol", XDG_CACHE_HOME=str(tmp_path))
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr == "otelcol: not there; tools/fetch.py brings it\n"
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_cache_is_told(tmp_path):
    """A cache folder that cannot be made is a reason, not a traceback."""
    (tmp_path / "file").write_text("")
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "go").write_text("#!/bin/sh\nexit 1\n")
    (fake / "go").chmod(0o755)
    outcome = fetch("otelcol", PATH=str(fake), XDG_CACHE_HOME=str(tmp_path / "file"))
    assert outcome.returncode == 0
    assert outcome.stderr.startswith("otelcol: cannot use the cache folder")


def test_a_build_that_fails_leaves_nothing_half_done(tmp_path):
    """The reason is what the build said last, and the next try starts afresh."""
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "go").write_text("#!/bin/sh\necho no such module; exit 3\n")
    (fake / "go").chmod(0o755)
    cache = tmp_path / "cache"
    outcome = fetch("otelcol", PATH=f"{fake}:{os.environ['PATH']}", XDG_CACHE_HOME=str(cache))
    assert "failed with 3: no such module" in outcome.stderr
    assert [path.suffix for path in (cache / "streamcanary").iterdir()] == [".lock"]
