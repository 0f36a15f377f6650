"""The live view of ``run`` on a real terminal."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.programs.daemon import write_config
from support.programs.terminal import Terminal
from support.servers.provider import MODEL, FakeProvider


def config(folder: Path, provider: FakeProvider, **more: Any) -> str:
    """Write a configuration with a canary that the test makes fail, and a good one."""
    canary = {"target": "sim", "every": "1s", "timeouts": {"total": "800ms"}, "retry": {"max_attempts": 1}}
    file = write_config(
        folder,
        {
            "targets": {"sim": {"base_url": provider.base_url, "api_key": "sk-live-5up3rs3cr3t", "provider": "sim"}},
            "canaries": {"chat": {**canary, "model": MODEL}, "other": {**canary, "model": "sim-ok"}},
            "alerts": {"rules": {"Down": {"detector": {"type": "consecutive", "failures": 2}}}},
            "web": {"port": 0},
            **more,
        },
    )
    return str(file)


async def test_the_view_shows_an_outage(tmp_path: Path) -> None:
    """What is broken is in the first lines; logs are below, and never between."""
    async with (
        FakeProvider() as provider,
        Terminal("run", "-c", config(tmp_path, provider), rows=30, columns=110) as terminal,
    ):
        await terminal.wait_for("✓ ok chat")
        await terminal.wait_for("http://127.0.0.1:")
        assert not terminal.shows_cursor
        provider.set_fault("500")
        await terminal.wait_for("✗ failing chat")
        await terminal.wait_for("FIRING Down chat")
        await terminal.wait_for("alert fired")
        assert terminal.screen[0].startswith("streamcanary 0.")
        rows = [line.split()[:3] for line in terminal.screen if line.startswith(("✓", "✗"))]
        assert [["✗", "failing", "chat"], ["✓", "ok", "other"]] == rows
        provider.set_fault("ok")
        await terminal.wait_for("✓ ok chat")
        terminal.send("\x03")
        assert 0 == await terminal.finish()
        assert terminal.shows_cursor
        assert any("daemon stopping" in line for line in terminal.screen)
    assert "5up3rs3cr3t" not in terminal.output
    assert "Traceback" not in terminal.output


async def test_the_view_fits_terminals_of_any_size(tmp_path: Path) -> None:
    """After a change of the size the view is drawn again, narrower columns are left out, and nothing is torn."""
    async with (
        FakeProvider() as provider,
        Terminal("run", "-c", config(tmp_path, provider), rows=30, columns=110) as terminal,
    ):
        await terminal.wait_for("FIRST TOKEN")
        terminal.resize(12, 45)
        await terminal.wait_for("✓ ok other")
        assert "FIRST TOKEN" not in "\n".join(terminal.screen)
        assert any("STATE" in line for line in terminal.screen)
        terminal.resize(3, 20)
        await terminal.wait_for("streamcanary")
        terminal.resize(24, 80)
        await terminal.wait_for("FIRST TOKEN")
        terminal.send("\x03")
        assert 0 == await terminal.finish()


async def test_without_colours_states_have_words_and_marks(tmp_path: Path) -> None:
    """``NO_COLOR`` is honoured: no sequence sets a colour."""
    async with (
        FakeProvider() as provider,
        Terminal("run", "-c", config(tmp_path, provider), NO_COLOR="1") as terminal,
    ):
        await terminal.wait_for("✓ ok chat")
        terminal.send("\x03")
        assert 0 == await terminal.finish()
    assert not [code for code in ("\x1b[32m", "\x1b[31m", "\x1b[1;32m", "\x1b[90m", "38;") if code in terminal.output]


@pytest.mark.parametrize(
    ("options", "environ"), [(("--log-format", "json"), {}), (("--log-format", "console"), {}), ((), {"TERM": "dumb"})]
)
async def test_a_log_format_or_a_dumb_terminal_has_no_view(
    tmp_path: Path, options: tuple[str, ...], environ: dict[str, str]
) -> None:
    """The log is written as it is chosen, and the terminal stays as it is."""
    async with (
        FakeProvider() as provider,
        Terminal("run", "-c", config(tmp_path, provider), *options, columns=200, **environ) as terminal,
    ):
        await terminal.wait_for("daemon started")
        terminal.send("\x03")
        assert 0 == await terminal.finish()
    assert "\x1b[?1049h" not in terminal.output
    if "json" in options:
        lines = [line for line in terminal.output.splitlines() if line.startswith("{")]
        assert "daemon started" in [json.loads(line)["message"] for line in lines]


async def test_a_daemon_that_cannot_start_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    """The reason is on the main screen."""
    async with FakeProvider() as provider:
        file = config(tmp_path, provider, store={"path": "/proc/nowhere/store.db"})
        async with Terminal("run", "-c", file) as terminal:
            assert 2 == await terminal.finish()
    assert terminal.shows_cursor
    assert any("/proc/nowhere" in line for line in terminal.screen)


async def test_a_hard_end_restores_the_terminal(tmp_path: Path) -> None:
    """A second Ctrl-C while a run hangs ends the process at once, and the cursor is back."""
    async with (
        FakeProvider("stall") as provider,
        Terminal("run", "-c", config(tmp_path, provider), rows=30, columns=110) as terminal,
    ):
        await terminal.wait_for("chat")
        terminal.send("\x03")
        await terminal.wait_for("daemon stopping")
        terminal.send("\x03")
        assert await terminal.finish() in (0, 130)  # 0 if it had stopped by then
        assert terminal.shows_cursor


async def test_a_suspended_view_gives_the_terminal_back(tmp_path: Path) -> None:
    """Ctrl-Z shows the shell's screen, cursor and input; ``fg`` shows the view again, and Ctrl-C ends the daemon."""
    async with (
        FakeProvider() as provider,
        Terminal("run", "-c", config(tmp_path, provider), rows=30, columns=110, in_shell=True) as terminal,
    ):
        await terminal.wait_for("✓ ok chat")
        assert not terminal.has_main_screen
        terminal.send("\x1a")
        await terminal.wait_for("Stopped")
        assert terminal.has_main_screen
        assert terminal.shows_cursor
        terminal.send("stty -a | grep -o '.echo .*echok'\n")
        await terminal.wait_for(" echo echoe echok")
        terminal.send("fg\n")
        await terminal.wait_for("LAST RUNS")
        assert not terminal.has_main_screen
        assert not terminal.shows_cursor
        terminal.send("\x03")
        await terminal.wait_for("daemon stopping")
        assert terminal.has_main_screen
        terminal.send("echo code $?\n")
        await terminal.wait_for("code 0")


async def test_a_daemon_that_goes_on_in_the_background_leaves_the_terminal_alone(tmp_path: Path) -> None:
    """After Ctrl-Z and ``bg`` it probes without a view, ends at SIGTERM, and does not stop for the terminal."""
    async with (
        FakeProvider() as provider,
        Terminal("run", "-c", config(tmp_path, provider), rows=30, columns=110, in_shell=True) as terminal,
    ):
        await terminal.wait_for("✓ ok chat")
        terminal.send("\x1a")
        await terminal.wait_for("Stopped")
        terminal.send("bg\n")
        provider.set_fault("500")
        terminal.send("sleep 3; kill %1; wait; echo ended $?\n")
        await terminal.wait_for("alert fired")
        await terminal.wait_for("ended 0")
        assert terminal.has_main_screen
        assert 1 == terminal.output.count("\x1b[?1049h")


async def test_an_endless_demo_says_at_its_end_what_is_next() -> None:
    """Ctrl-C is how ``demo --loop`` ends."""
    async with Terminal("demo", "--loop", rows=40, columns=110) as terminal:
        await terminal.wait_for("status page: http://127.0.0.1:")
        await terminal.wait_for("chat: ok after")
        terminal.send("\x03")
        assert 0 == await terminal.finish()
    assert "try a real endpoint" in terminal.output
