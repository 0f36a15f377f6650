import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing, StoreLocked
from support.store.builders import CHILD_ENVIRONMENT, open_store

HOLDER = Path(__file__).with_name("program_store_lock_holder.py")


@contextmanager
def another_daemon(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a process that has the store open."""
    with subprocess.Popen(
        [sys.executable, str(HOLDER), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=CHILD_ENVIRONMENT,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.kill()


def test_a_second_daemon_is_rejected_with_the_process_that_uses_the_store(path: Path) -> None:
    """The message names the pid and host of the process that holds the lock."""
    with another_daemon(path) as process, pytest.raises(StoreLocked) as raised:
        open_store(path)
    assert str(raised.value) == (
        f"the store {path} is in use by another streamcanary, process {process.pid} on {socket.gethostname()}: "
        "stop that process, or set another store.path for this one"
    )


async def test_the_lock_of_a_killed_daemon_is_free(path: Path) -> None:
    """The kernel releases the lock on ``kill -9``, so no cleanup is needed."""
    with another_daemon(path) as process:
        process.kill()
        process.wait()
    store = open_store(path)
    assert await store.probe() is True
    await store.close()


async def test_one_process_cannot_open_a_store_twice(store: Store, path: Path) -> None:
    """A second open in the same process raises StoreLocked."""
    with pytest.raises(StoreLocked, match=f"process {os.getpid()} on "):
        open_store(path)
    assert await store.probe() is True


async def test_closing_releases_the_lock(path: Path) -> None:
    """The same process can open the store again after closing it."""
    for _ in range(3):
        await open_store(path).close()


async def test_a_failed_open_releases_the_lock(path: Path) -> None:
    """Once the error is corrected, the same process can open the store."""
    path.mkdir()
    with pytest.raises(Exception, match="is a directory"):
        open_store(path)
    path.rmdir()
    await open_store(path).close()


async def test_the_content_of_an_old_lock_file_is_ignored(path: Path) -> None:
    """A lock file without a lock does not prevent opening the store."""
    Path(f"{path}.lock").write_text("1 on elsewhere\n" * 1000)
    store = open_store(path)
    assert Path(f"{path}.lock").read_text() == f"{os.getpid()} on {socket.gethostname()}\n"
    await store.close()


@pytest.mark.parametrize("removed", ["canary.db.lock", "canary.db*"])
async def test_a_daemon_whose_lock_file_was_removed_yields_to_the_new_holder(
    store: Store, path: Path, removed: str
) -> None:
    """Two daemons never write to one store, even after the files of the first were removed."""
    for file in path.parent.glob(removed):
        file.unlink()
    with another_daemon(path) as process:
        with pytest.raises(StoreFailing, match=rf"is in use by another streamcanary, process {process.pid} on "):
            await store.write(lambda _: None)
        assert store.is_writable() is False


async def test_a_removed_lock_file_is_locked_again(store: Store, path: Path) -> None:
    """If no other process has acquired the lock, the next write acquires it again."""
    Path(f"{path}.lock").unlink()
    await store.write(lambda _: None)
    with pytest.raises(StoreLocked):
        open_store(path)
