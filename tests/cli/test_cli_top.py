"""The verb ``top``: a live view of a daemon over its API."""

import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamcanary.web.uvicorn_server import UvicornServer, bind_socket
from support.programs.daemon import Daemon, run_command
from support.programs.terminal import Terminal
from support.servers.provider import MODEL, FakeProvider

TOKEN = "a-token-of-32-characters-in-all!"
HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202eevil\nFIRING  forged"


def config(provider: FakeProvider, **web: Any) -> dict[str, Any]:
    """Return a configuration with a canary that the test makes fail."""
    canary = {"target": "sim", "every": "1s", "timeouts": {"total": "800ms"}, "retry": {"max_attempts": 1}}
    return {
        "targets": {"sim": {"base_url": provider.base_url, "api_key": "x", "provider": "sim"}},
        "canaries": {"chat": {**canary, "model": MODEL}},
        "alerts": {"rules": {"Down": {"detector": {"type": "consecutive", "failures": 2}}}},
        "web": {"port": 0, **web},
    }


def url_of(daemon: Daemon) -> str:
    """Return the address of the API."""
    return f"http://127.0.0.1:{daemon.log_lines('web server started')[-1]['port']}"


def summary(**changes: Any) -> dict[str, Any]:
    """Return a status as a daemon answers it."""
    values = {"state": "failing", "sentence": HOSTILE, "detail": HOSTILE, "since": 1.0, "counts": {"failing": 1}}
    return {"summary": {**values, "instance": HOSTILE, "version": "1", "started": 1.0, "time": 2.0, **changes}}


CANARIES = {
    "canaries": [
        {
            "name": HOSTILE,
            "target": "t",
            "provider": "p",
            "model": HOSTILE,
            "labels": {},
            "interval": 1,
            "state": "failing",
        }
    ],
    "total": 1,
}
INCIDENTS = {"incidents": [{"alert": "Down", "subject": "chat", "message": HOSTILE}], "firing": 1}


@asynccontextmanager
async def server(answers: Callable[[str], Any]) -> AsyncIterator[str]:
    """Serve whatever ``answers`` returns for a path, as JSON or as bytes; yield the address."""

    async def answer(request: Request) -> Response:
        document = answers(request.url.path)
        return Response(document if isinstance(document, bytes) else json.dumps(document))

    application = Starlette(routes=[Route("/{path:path}", answer)])
    async with UvicornServer(application, await bind_socket("127.0.0.1", 0)) as running:
        yield f"http://127.0.0.1:{running.address[1]}"


def hostile_answers(path: str) -> Any:
    """Answer as a daemon does, with text that attacks a terminal."""
    return summary() if path.endswith("status") else CANARIES if path.endswith("canaries") else INCIDENTS


async def test_top_shows_an_outage_and_its_end(tmp_path: Path) -> None:
    """The view follows the daemon; q ends it, and the terminal is as before."""
    async with (
        FakeProvider() as provider,
        Daemon(tmp_path, config(provider)) as daemon,
        Terminal("top", "--url", url_of(daemon), "--interval", "1s", rows=20, columns=110) as terminal,
    ):
        await terminal.wait_for("✓ ok chat")
        assert not terminal.shows_cursor
        provider.set_fault("500")
        await terminal.wait_for("✗ failing chat")
        await terminal.wait_for("FIRING Down chat")
        terminal.send("xq")
        assert 0 == await terminal.finish()
        assert terminal.shows_cursor
        assert "xq" not in terminal.output


async def test_top_reconnects(tmp_path: Path) -> None:
    """While the daemon is away the last answer stays, marked as old."""
    async with FakeProvider() as provider, Daemon(tmp_path, config(provider)) as daemon:
        port = url_of(daemon).rsplit(":", 1)[1]
        async with Terminal("top", "--url", url_of(daemon), rows=20, columns=110) as terminal:
            await terminal.wait_for("✓ ok chat")
            await daemon.terminate()
            await terminal.wait_for("reconnecting, last update")
            await terminal.wait_for("cannot reach a daemon at")
            assert "✓" in "\n".join(terminal.screen)
            async with Daemon(tmp_path / "again", config(provider, port=int(port))):
                await terminal.wait_for(f"http://127.0.0.1:{port}")
                terminal.send("\x03")
                assert 0 == await terminal.finish()


async def test_a_daemon_that_hangs_is_shown_as_old_and_does_not_hold_the_view(tmp_path: Path) -> None:
    """It accepts connections and answers nothing; q ends the view at once all the same."""
    async with (
        FakeProvider() as provider,
        Daemon(tmp_path, config(provider)) as daemon,
        Terminal("top", "--url", url_of(daemon), "--interval", "1s", rows=20, columns=110) as terminal,
    ):
        await terminal.wait_for("✓ ok chat")
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            await terminal.wait_for("waiting for an answer of http://127.0.0.1:")
            assert "reconnecting, last update" in terminal.screen[0]
            terminal.send("q")
            assert 0 == await terminal.finish(within=3)
        finally:
            os.kill(daemon.pid, signal.SIGCONT)


async def test_hostile_text_is_harmless() -> None:
    """Control characters of a daemon reach the terminal neither in the view nor in the printed snapshot."""
    async with server(hostile_answers) as url:
        async with Terminal("top", "--url", url, rows=20, columns=150) as terminal:
            await terminal.wait_for("FIRING Down chat")
            assert 1 == sum(line.startswith("FIRING") for line in terminal.screen)
            terminal.send("q")
            assert 0 == await terminal.finish()
        result = await run_command("top", "--url", url)
    assert 0 == result.code
    assert "evil FIRING  forged" in result.stdout
    for attack in ("\x1b]0;", "\x07", "\u202e", "\nFIRING  forged"):
        assert attack not in terminal.output
        assert attack not in result.stdout


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (b"<html>", "HTTP 200 without JSON: unexpected answer"),
        (b"[" * 100_000, "HTTP 200 without JSON: unexpected answer"),
        (b'{"summary": 3}', "/api/v1/status: unexpected answer"),
        (b'"' + b"x" * 17_000_000 + b'"', "the answer is too large or too slow: unexpected answer"),
    ],
    ids=["html", "deep", "other", "large"],
)
async def test_another_server_is_an_error(document: bytes, problem: str) -> None:
    """Whatever it answers, the message says what would be right."""
    async with server(lambda _: document) as url:
        result = await run_command("top", "--url", url)
    assert (1, "") == (result.code, result.stdout)
    assert problem in result.stderr
    assert "Traceback" not in result.stderr


async def test_top_needs_the_token(tmp_path: Path) -> None:
    """Without it the exit code is 1 with a hint; with it the view is printed."""
    (tmp_path / "token").write_text(TOKEN)
    async with (
        FakeProvider() as provider,
        Daemon(tmp_path, config(provider, token_file=str(tmp_path / "token"))) as daemon,
    ):
        denied = await run_command("top", "--url", url_of(daemon))
        shown = await run_command("top", "--url", url_of(daemon), "--token-file", tmp_path / "token")
    assert 1 == denied.code
    assert "set --token-file" in denied.stderr
    assert (0, "") == (shown.code, shown.stderr)
    assert "chat" in shown.stdout


@pytest.mark.parametrize(("interval", "problem"), [("1ms", "must be at least 1s"), ("often", "not a duration")])
async def test_an_invalid_interval_is_exit_code_2(interval: str, problem: str) -> None:
    """No request is sent."""
    result = await run_command("top", "--interval", interval)
    assert (2, "") == (result.code, result.stdout)
    assert problem in result.stderr


@pytest.mark.parametrize("token", ["t\u00f6ken", "one two", "a\nX-Injected: b"])
async def test_a_token_that_cannot_be_one_is_not_sent(tmp_path: Path, token: str) -> None:
    """The message names where it is from, and does not repeat it."""
    (tmp_path / "token").write_text(token)
    result = await run_command("top", "--url", "http://127.0.0.1:9", "--token-file", tmp_path / "token")
    assert 1 == result.code
    assert f"the token in {tmp_path / 'token'} has characters that no token has" in result.stderr
    assert token not in result.stderr
