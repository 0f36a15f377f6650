"""Errors at the start: a sentence on stderr, an exit code, and nothing on stdout."""

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


def assert_rejected(said: CommandResult, *parts: str) -> None:
    """Assert exit code 2, and that stderr contains ``parts`` and nothing else was printed."""
    assert (2, "") == (said.code, said.stdout), said.stderr
    assert [] == [part for part in parts if part not in said.stderr], said.stderr
    assert "Traceback" not in said.stderr
    assert "5up3rs3cr3t" not in said.stderr


@pytest.mark.parametrize(
    ("fixture", "place", "says"),
    [
        ("syntax-error", ":4:9", "YAML syntax"),
        ("unknown-key-nested", ":8:5", "evry: unknown key; did you mean every?"),
        ("duplicate-key", ":7:3", "canaries.chat: duplicate key, first used in line 4"),
        ("unset-variable", ":3:14", "${OPENAI_API_KEY} is not set"),
        ("unknown-target", ":6:13", "there is no target 'opnai'; known: openai, azure"),
        ("interval-zero", ":7:12", "canaries.chat-mini.every: must be longer than zero"),
        ("total-not-below-interval", ":9:14", "timeouts.total: 30s must be shorter than every (30s)"),
    ],
)
async def test_an_invalid_configuration_does_not_start(fixture: str, place: str, says: str) -> None:
    """The exit code is 2, and stderr has file, line, key and what would be valid."""
    path = FIXTURES / f"{fixture}.yaml"
    assert_rejected(await run_command("run", "-c", path), f"{path}{place}", says)


async def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    """The message has the path."""
    path = tmp_path / "missing.yaml"
    assert_rejected(await run_command("run", "-c", path), f"{path}: no such file")


async def test_an_override_from_the_environment_that_matches_nothing_is_named(tmp_path: Path) -> None:
    """An unknown variable with the prefix of streamcanary prevents the start; its value is not shown."""
    path = write_config(tmp_path, SOUND)
    variables = {"STREAMCANARY_CANARIES__CHATT__EVERY": "10s", "STREAMCANARY_TARGETS__LOCAL__APIKEY": "5up3rs3cr3t"}
    assert_rejected(await run_command("run", "-c", path, **variables), *variables)


async def test_all_errors_are_reported_at_once_without_secrets(tmp_path: Path) -> None:
    """Two mistakes in one file, one at a secret: two lines, and neither shows the secret."""
    canary = {"target": "local", "model": "sim-ok", "every": "0s"}
    targets = {"local": {"api_key": ["sk-live-5up3rs3cr3tk3y"]}}
    said = await run_command("run", "-c", write_config(tmp_path, {"targets": targets, "canaries": {"chat": canary}}))
    assert_rejected(said, "targets.local.api_key", "canaries.chat.every: must be longer than zero")
    assert 2 == len(said.stderr.splitlines())


async def test_a_store_in_a_missing_directory_is_reported(tmp_path: Path) -> None:
    """Directories are not created: it may be a volume that is not mounted."""
    path = write_config(tmp_path, SOUND | {"store": {"path": "missing/store.db"}})
    assert_rejected(
        await run_command("run", "-c", path), f"store.path: there is no directory {tmp_path}/missing; create it"
    )


async def test_a_store_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    """The path of the store is not a regular file."""
    path = write_config(tmp_path, SOUND | {"store": {"path": "/dev/full"}})
    assert_rejected(
        await run_command("run", "-c", path), "store.path: /dev/full is not a regular file; name another one"
    )


async def test_a_directory_without_write_permission_is_reported(tmp_path: Path) -> None:
    """The lock beside the store is written first; in ``/proc`` not even root can."""
    path = write_config(tmp_path, SOUND | {"store": {"path": "/proc/store.db"}})
    assert_rejected(
        await run_command("run", "-c", path), "store.path: cannot write /proc/store.db.lock: ", "must be able to write"
    )


async def test_a_store_from_a_newer_version_is_reported_and_not_changed(tmp_path: Path) -> None:
    """The newer version can still open it."""
    config = write_config(tmp_path, SOUND)
    async with Daemon(tmp_path, SOUND) as daemon:
        await daemon.terminate()
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as store:
        store.execute("PRAGMA user_version = 99")
    before = (tmp_path / "store.db").read_bytes()
    assert_rejected(
        await run_command("run", "-c", config),
        f"the store {tmp_path}/store.db has schema version 99",
        "supports versions up to",
    )
    assert before == (tmp_path / "store.db").read_bytes()


@pytest.mark.real("postgresql")
async def test_a_database_that_refuses_the_password_is_reported(tmp_path: Path, postgres_url: str) -> None:
    """The message has the host and the user, and no password."""
    url = postgres_url.replace("streamcanary:", "streamcanary:5up3rs3cr3t")
    path = write_config(tmp_path, {**SOUND, "store": {"url": url}})
    assert_rejected(
        await run_command("run", "-c", path),
        f"the store postgresql://{postgres_url.partition('@')[2]} cannot be opened: ",
        'password authentication failed for user "streamcanary"; correct the user and the password in store.url',
    )


async def test_a_second_daemon_on_the_same_store_names_the_process_that_uses_it(tmp_path: Path) -> None:
    """The first daemon keeps running and stays ready."""
    async with Daemon(tmp_path, SOUND) as first:
        said = await run_command("run", "-c", first.config)
        assert_rejected(
            said, f"the store {tmp_path}/store.db is in use by another streamcanary, process {first.pid} on "
        )
        await first.wait_until_ready()
        assert 0 == (await first.terminate()).code


async def test_a_corrupt_store_is_renamed_and_the_daemon_continues(tmp_path: Path) -> None:
    """The message names both files, and the corrupt one is kept."""
    (tmp_path / "store.db").write_bytes(b"no database at all " * 500)
    async with Daemon(tmp_path, SOUND) as daemon:
        [line] = daemon.log_lines("store corrupt")
        [aside] = tmp_path.glob("store.db.corrupt-*")
        assert (str(tmp_path / "store.db"), str(aside)) == (line["store"], line["renamed_to"])
        assert line["error"]
        assert "warning" == line["level"]
        assert b"no database at all" == aside.read_bytes()[:18]
        assert [] == daemon.query("SELECT * FROM incidents")
        assert 0 == (await daemon.terminate()).code


@pytest.fixture
def port_in_use() -> Iterator[int]:
    """Yield a port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_port_in_use_disables_the_health_endpoints_only(tmp_path: Path, port_in_use: int) -> None:
    """The warning names the port, and canaries run."""
    daemon = Daemon(
        tmp_path,
        SOUND | {"web": {"port": port_in_use}, "canaries": {"chat": SOUND["canaries"]["chat"] | {"every": "1s"}}},
    )
    try:
        await daemon.start()
        line = await daemon.wait_for_log("web server start failed")
        assert ("127.0.0.1", port_in_use, "Address already in use") == (line["host"], line["port"], line["error"])

        assert "warning" == line["level"]
        await daemon.wait_for_log("run finished", 2, canary="chat")
        assert 0 == (await daemon.terminate()).code
        assert "5up3rs3cr3t" not in daemon.stderr
    finally:
        await daemon.kill()


@pytest.mark.parametrize(
    "arguments", [(), ("run",), ("fly",), ("run", "-c"), ("run", "-c", "x", "--log-level", "loud")]
)
async def test_invalid_arguments_print_the_usage(arguments: tuple[str, ...]) -> None:
    """The exit code is 2, as for all invalid input."""
    assert_rejected(await run_command(*arguments), "usage: streamcanary", "error: ")
