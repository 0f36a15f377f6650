"""What is wrong is told on stderr, in words, by an exit code, and by nothing on stdout."""

import contextlib
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.programs.daemon import CommandResult, Daemon, run_command, write_config

FIXTURES = Path(__file__).parent.parent / "fixtures" / "config"
SOUND: dict[str, Any] = {
    "targets": {"local": {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk-live-5up3rs3cr3tk3y"}},
    "canaries": {"chat": {"target": "local", "model": "sim-ok", "every": "30s"}},
}


def check_told(said: CommandResult, *parts: str) -> None:
    """See that a verb has refused with code 2, said ``parts``, and nothing else anywhere."""
    assert (2, "") == (said.code, said.stdout), said.stderr
    assert [] == [part for part in parts if part not in said.stderr], said.stderr
    assert "Traceback" not in said.stderr
    assert "5up3rs3cr3t" not in said.stderr


@pytest.mark.parametrize(
    ("fixture", "place", "says"),
    [
        ("syntax-error", ":4:9", "YAML syntax"),
        ("unknown-key-nested", ":8:5", "evry: unknown key; did you mean every?"),
        ("duplicate-key", ":7:3", "canaries.chat: the same key stands in line 4 already"),
        ("unset-variable", ":3:14", "${OPENAI_API_KEY} is not set"),
        ("unknown-target", ":6:13", "there is no target 'opnai'; known: openai, azure"),
        ("interval-zero", ":7:12", "canaries.chat-mini.every: must be longer than zero"),
        ("total-not-below-interval", ":9:14", "timeouts.total: 30s must be shorter than every (30s)"),
    ],
)
async def test_a_configuration_that_is_wrong_starts_nothing(fixture: str, place: str, says: str) -> None:
    """Exit code 2, and file, line, key and remedy on stderr."""
    path = FIXTURES / f"{fixture}.yaml"
    check_told(await run_command("run", "-c", path), f"{path}{place}", says)


async def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The path stands in the message."""
    path = tmp_path / "missing.yaml"
    check_told(await run_command("run", "-c", path), f"{path}: no such file")


async def test_an_override_from_the_environment_that_matches_nothing_is_named(tmp_path: Path) -> None:
    """A variable with our prefix means something, or stops the start; its value is not shown."""
    path = write_config(tmp_path, SOUND)
    variables = {"STREAMCANARY_CANARIES__CHATT__EVERY": "10s", "STREAMCANARY_TARGETS__LOCAL__APIKEY": "5up3rs3cr3t"}
    check_told(await run_command("run", "-c", path, **variables), *variables)


async def test_every_problem_is_told_at_once_and_no_secret_with_them(tmp_path: Path) -> None:
    """Two mistakes in one file, one of them where a secret belongs: two lines, and the secret in none."""
    canary = {"target": "local", "model": "sim-ok", "every": "0s"}
    targets = {"local": {"api_key": ["sk-live-5up3rs3cr3tk3y"]}}
    said = await run_command("run", "-c", write_config(tmp_path, {"targets": targets, "canaries": {"chat": canary}}))
    check_told(said, "targets.local.api_key", "canaries.chat.every: must be longer than zero")
    assert 2 == len(said.stderr.splitlines())


async def test_a_store_in_no_directory_is_told(tmp_path: Path) -> None:
    """Directories are not made: it may be a volume that is not mounted."""
    path = write_config(tmp_path, SOUND | {"store": {"path": "missing/store.db"}})
    check_told(await run_command("run", "-c", path), f"store.path: there is no directory {tmp_path}/missing; create it")


async def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """The store is a file that is no file."""
    path = write_config(tmp_path, SOUND | {"store": {"path": "/dev/full"}})
    check_told(await run_command("run", "-c", path), "store.path: /dev/full is not a regular file; name another one")


async def test_a_directory_that_takes_no_files_is_told(tmp_path: Path) -> None:
    """The lock beside the store is the first thing to be written; in ``/proc`` not even root can."""
    path = write_config(tmp_path, SOUND | {"store": {"path": "/proc/store.db"}})
    check_told(
        await run_command("run", "-c", path), "store.path: cannot write /proc/store.db.lock: ", "must be able to write"
    )


async def test_a_store_from_a_newer_version_is_told_and_left_alone(tmp_path: Path) -> None:
    """A later streamcanary can go on with it."""
    config = write_config(tmp_path, SOUND)
    async with Daemon(tmp_path, SOUND) as daemon:
        await daemon.terminate()
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as store:
        store.execute("PRAGMA user_version = 99")
    before = (tmp_path / "store.db").read_bytes()
    check_told(
        await run_command("run", "-c", config),
        f"the store {tmp_path}/store.db is of version 99",
        "knows versions up to",
    )
    assert before == (tmp_path / "store.db").read_bytes()


async def test_a_second_daemon_on_the_same_store_is_told_who_has_it(tmp_path: Path) -> None:
    """The first runs on, and stays ready."""
    async with Daemon(tmp_path, SOUND) as first:
        said = await run_command("run", "-c", first.config)
        check_told(said, f"the store {tmp_path}/store.db is in use by another streamcanary, process {first.pid} on ")
        await first.wait_until_ready()
        assert 0 == (await first.terminate()).code


async def test_a_corrupt_store_is_set_aside_and_the_daemon_runs_on(tmp_path: Path) -> None:
    """The message names both files; what was corrupt can still be looked at."""
    (tmp_path / "store.db").write_bytes(b"no database at all " * 500)
    async with Daemon(tmp_path, SOUND) as daemon:
        [line] = daemon.log_lines("the store")
        [aside] = tmp_path.glob("store.db.corrupt-*")
        assert f"the store {tmp_path}/store.db is corrupt" in line["message"]
        assert f"set aside as {aside}, a fresh one is begun" in line["message"]
        assert "warning" == line["level"]
        assert b"no database at all" == aside.read_bytes()[:18]
        assert [] == daemon.query("SELECT * FROM incidents")
        assert 0 == (await daemon.terminate()).code


@pytest.fixture
def taken() -> Iterator[int]:
    """Yield a port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_port_in_use_costs_the_health_pages_and_not_the_canaries(tmp_path: Path, taken: int) -> None:
    """The warning names the port, and runs go on."""
    daemon = Daemon(
        tmp_path, SOUND | {"web": {"port": taken}, "canaries": {"chat": SOUND["canaries"]["chat"] | {"every": "1s"}}}
    )
    try:
        await daemon.start()
        line = await daemon.wait_for_log("health is not served")
        assert f"cannot listen on 127.0.0.1 port {taken} (Address already in use)" in line["message"]
        assert "warning" == line["level"]
        await daemon.wait_for_log("run finished", 2, canary="chat")
        assert 0 == (await daemon.terminate()).code
        assert "5up3rs3cr3t" not in daemon.stderr
    finally:
        await daemon.kill()


@pytest.mark.parametrize(
    "arguments", [(), ("run",), ("fly",), ("run", "-c"), ("run", "-c", "x", "--log-level", "loud")]
)
async def test_wrong_arguments_are_told_with_the_usage(arguments: tuple[str, ...]) -> None:
    """Exit code 2, as with every wrong input."""
    check_told(await run_command(*arguments), "usage: streamcanary", "error: ")
