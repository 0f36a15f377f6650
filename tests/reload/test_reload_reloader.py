"""The reloader: its triggers, its results, and what a reload that fails leaves behind."""

import asyncio
import itertools
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcanary.model.status.config_reload import ReloadKind, ReloadResult
from streamcanary.reload import reloader as module
from streamcanary.reload.config_file import RETRY_INTERVAL
from streamcanary.settings import Settings, load
from streamcanary.transport.tls import TlsFileError
from support.hypothesis_profile import examples
from support.reload import CHAT, TARGET, ReloadHarness, write_config

MORE: dict[str, Any] = {"canaries": {"chat": CHAT, "second": CHAT}}


async def test_a_valid_file_is_applied(tmp_path: Path) -> None:
    """The components get the settings, and the status shows the hash of the file and when it was loaded."""
    async with ReloadHarness(tmp_path) as harness:
        harness.write(**MORE)
        harness.clock.advance(60)
        result = await harness.reloader.reload()
        assert ReloadKind.APPLIED == result.kind
        [applied] = harness.parts.applied
        assert ["chat", "second"] == list(applied.canaries)
        status = harness.reloader.status
        assert (applied.content_hash, harness.clock.time()) == (status.content_hash, status.loaded)
        assert [None] == harness.reports


async def test_an_unchanged_file_is_not_applied(tmp_path: Path) -> None:
    """Another comment is no other configuration; the status shows the hash of the file all the same."""
    async with ReloadHarness(tmp_path) as harness:
        harness.file.write_text("# a comment\n" + harness.file.read_text())
        result = await harness.reloader.reload()
        assert (ReloadKind.UNCHANGED, []) == (result.kind, harness.parts.prepared)
        assert load(harness.file).content_hash == harness.reloader.status.content_hash


async def test_an_invalid_file_changes_nothing(tmp_path: Path) -> None:
    """The result has every error with its key and place, and no secret; the status keeps the configuration."""
    async with ReloadHarness(tmp_path) as harness:
        before = harness.reloader.status
        harness.write(targets={"t": {**TARGET, "base_url": "ftp://x"}}, wob={})
        result = await harness.reloader.reload()
        assert ReloadKind.INVALID == result.kind
        assert {"targets.t.base_url", "wob"} == {error.key for error in result.errors}
        assert all(error.line == 1 and error.column for error in result.errors)
        assert "sk-planted-secret" not in str(result)
        assert [] == harness.parts.prepared
        after = harness.reloader.status
        assert (before.content_hash, before.loaded) == (after.content_hash, after.loaded)
        assert [result.message] == harness.reports
        assert result.message.endswith("(and 1 more)")


async def test_a_change_that_needs_a_restart_applies_nothing(tmp_path: Path) -> None:
    """The result names the keys; changes that could be applied are not, either."""
    async with ReloadHarness(tmp_path) as harness:
        harness.write(**MORE, web={"port": 1})
        result = await harness.reloader.reload()
        assert (ReloadKind.RESTART_NEEDED, ("web.port",)) == (result.kind, result.restart_needed)
        assert [] == harness.parts.prepared
        assert ["restart the daemon to apply a change of web.port"] == harness.reports


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (TlsFileError("ca.pem: no certificate"), ReloadKind.INVALID, "ca.pem: no certificate"),
        (KeyError("defect"), ReloadKind.FAILED, "internal error: KeyError"),
    ],
)
async def test_a_component_that_cannot_prepare_prevents_the_reload(
    tmp_path: Path, error: Exception, kind: ReloadKind, message: str
) -> None:
    """Nothing is applied; the next reload can succeed."""

    def fail() -> None:
        raise error

    async with ReloadHarness(tmp_path) as harness:
        harness.parts.on_prepare = fail
        harness.write(**MORE)
        result = await harness.reloader.reload()
        assert (kind, message, []) == (result.kind, result.message, harness.parts.applied)
        harness.parts.on_prepare = lambda: None
        assert ReloadKind.APPLIED == (await harness.reloader.reload()).kind


async def test_requests_during_a_reload_are_answered_by_one_more(tmp_path: Path) -> None:
    """Ten requests while the first reload prepares lead to one further reload."""
    started, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        go_on.wait(10)

    async with ReloadHarness(tmp_path) as harness:
        harness.parts.on_prepare = wait
        harness.write(**MORE)
        first = asyncio.create_task(harness.reloader.reload())
        await asyncio.to_thread(started.wait, 10)
        others = [asyncio.create_task(harness.reloader.reload()) for _ in range(10)]
        await asyncio.sleep(0)
        go_on.set()
        assert ReloadKind.APPLIED == (await first).kind
        assert [ReloadKind.UNCHANGED] * 10 == [result.kind for result in await asyncio.gather(*others)]
        assert 2 == len(harness.reports)


async def test_a_daemon_that_stops_reloads_no_more(tmp_path: Path) -> None:
    """A request after the end, and one that is waiting then, are answered without a reload."""
    go_on = threading.Event()

    def wait() -> None:
        go_on.wait(10)

    async with ReloadHarness(tmp_path) as harness:
        harness.parts.on_prepare = wait
        harness.write(**MORE)
        waiting = asyncio.create_task(harness.reloader.reload())
        await asyncio.sleep(0.05)
    go_on.set()
    assert ReloadKind.FAILED == (await waiting).kind
    assert ReloadKind.STOPPING == (await harness.reloader.reload()).kind
    assert [] == harness.parts.applied


async def test_a_file_system_that_hangs_occupies_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reload fails after a time, and further ones at once; when the file system answers, the next one succeeds."""
    monkeypatch.setattr(module, "_LOAD_TIMEOUT", 0.05)
    calls, go_on = itertools.count(), threading.Event()

    def hang() -> None:
        next(calls)
        go_on.wait(10)

    async with ReloadHarness(tmp_path) as harness:
        harness.parts.on_prepare = hang
        harness.write(**MORE)
        results = [await harness.reloader.reload() for _ in range(3)]
        assert [ReloadKind.FAILED] * 3 == [result.kind for result in results]
        assert 1 == next(calls)
        assert harness.reports[0] is not None
        assert harness.reports[0].startswith(f"reading {harness.file} has taken more than")
        go_on.set()
        monkeypatch.setattr(module, "_LOAD_TIMEOUT", 10.0)
        async with asyncio.timeout(10):
            while (await harness.reloader.reload()).kind is ReloadKind.FAILED:
                await asyncio.sleep(0.01)
        assert 1 == len(harness.parts.applied)


async def test_the_file_is_watched(tmp_path: Path) -> None:
    """A change is applied without a request; an invalid file is reported, and loaded again when it changes."""
    async with ReloadHarness(tmp_path, interval=0.01) as harness, asyncio.timeout(20):
        harness.write(**MORE)
        while not harness.parts.applied:
            await asyncio.sleep(0.01)
        harness.write(wob={})
        while harness.reports[-1] is None:
            await asyncio.sleep(0.01)
        harness.file.unlink()
        while "no such file" not in str(harness.reports[-1]):
            await asyncio.sleep(0.01)
        harness.write()
        while harness.reports[-1] is not None:
            await asyncio.sleep(0.01)
        assert ["chat"] == list(harness.parts.applied[-1].canaries)


async def test_a_defect_in_a_component_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``apply`` must not fail; if it does, the result says so, and the next trigger reloads again."""
    async with ReloadHarness(tmp_path) as harness:
        monkeypatch.setattr(harness.parts, "apply", lambda: 1 / 0)
        harness.write(**MORE)
        result = await harness.reloader.reload()
        assert (ReloadKind.FAILED, "internal error: ZeroDivisionError; restart the daemon") == (
            result.kind,
            result.message,
        )


async def test_a_file_on_which_the_daemon_fails_internally_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The watcher reports the defect, with one traceback however often it tries again, and applies the next file."""
    calls: list[Path] = []

    def fail(file: Path) -> Settings:
        calls.append(file)
        raise TypeError("unhashable type: 'list'")

    async with ReloadHarness(tmp_path, interval=0.01) as harness, asyncio.timeout(20):
        monkeypatch.setattr(module, "load", fail)
        harness.write(**MORE)
        while len(calls) < 3:
            await asyncio.sleep(0.01)
            harness.clock.advance(RETRY_INTERVAL)
        assert "internal error: TypeError" == harness.reports[0]
        assert 1 == [record.message for record in caplog.records].count("reload failed internally")
        monkeypatch.setattr(module, "load", load)
        while harness.reports[-1] is not None:
            await asyncio.sleep(0.01)
            harness.clock.advance(RETRY_INTERVAL)
        assert ["chat", "second"] == list(harness.parts.applied[-1].canaries)


async def test_a_request_at_the_instant_of_a_poll_is_answered(tmp_path: Path) -> None:
    """If the timer of the poll and a request are handled in one turn of the event loop, the request is not lost."""
    async with ReloadHarness(tmp_path, interval=0.2) as harness:

        async def request() -> ReloadResult:
            await asyncio.sleep(0.1)
            return await harness.reloader.reload()

        requested = asyncio.create_task(request())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(0.4)
        assert ReloadKind.UNCHANGED == (await requested).kind


async def test_a_file_that_cannot_be_read_has_no_hash(tmp_path: Path) -> None:
    """The hash of the result is empty; the message has the reason."""
    async with ReloadHarness(tmp_path) as harness:
        harness.file.unlink()
        result = await harness.reloader.reload()
        assert (ReloadKind.INVALID, "", True) == (result.kind, result.content_hash, "no such file" in result.message)


FILES: dict[str, dict[str, Any] | str] = {
    "one": {"targets": {"t": TARGET}, "canaries": {"chat": CHAT}},
    "two": {"targets": {"t": TARGET}, "canaries": {"chat": CHAT, "second": CHAT}},
    "slow": {"targets": {"t": TARGET}, "canaries": {"chat": {**CHAT, "every": "1h"}}},
    "restart": {"targets": {"t": TARGET}, "canaries": {"new": CHAT}, "store": {"path": "other.db"}},
    "invalid": {"targets": {"t": TARGET}, "canaries": {"chat": {"target": "none"}}},
    "truncated": '{"targets": {"t": {"base_url": ',
    "empty": "",
}


@examples(sample=30, fuzz=2000)
@given(sequence=st.lists(st.sampled_from(sorted(FILES)), max_size=6))
def test_any_sequence_of_reloads_ends_with_the_last_file_that_could_be_applied(part: int, sequence: list[str]) -> None:
    """Whatever came before, the daemon runs with the settings that it would have started with."""
    usable = [name for name in sequence if name in ("one", "two", "slow")]

    async def run(folder: Path) -> None:
        async with ReloadHarness(folder) as harness:
            for name in sequence:
                write_config(harness.file, FILES[name])
                result = await harness.reloader.reload()
                assert result.is_success is (name in ("one", "two", "slow"))
            current = harness.parts.applied[-1] if harness.parts.applied else harness.settings
            started = load(write_config(harness.file, FILES[usable[-1] if usable else "one"]))
            assert started.model_dump() == current.model_dump()
            if usable:
                assert started.content_hash == harness.reloader.status.content_hash

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))
