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


def test_a_second_daemon_is_refused_and_told_who_has_the_store(path: Path) -> None:
    """The message names the process, so that nobody has to search for it."""
    with another_daemon(path) as process, pytest.raises(StoreLocked) as refused:
        open_store(path)
    assert str(refused.value) == (
        f"the store {path} is in use by another streamcanary, process {process.pid} on {socket.gethostname()}: "
        "stop that process, or set another store.path for this one"
    )


async def test_the_lock_of_a_killed_daemon_is_free(path: Path) -> None:
    """The lock is the kernel's: nothing to clean up after ``kill -9``."""
    with another_daemon(path) as process:
        process.kill()
        process.wait()
    store = open_store(path)
    assert await store.probe() is True
    await store.close()


async def test_one_process_cannot_open_a_store_twice(store: Store, path: Path) -> None:
    """Two writers in one process are two writers."""
    with pytest.raises(StoreLocked, match=f"process {os.getpid()} on "):
        open_store(path)
    assert await store.probe() is True


async def test_closing_gives_the_lock_back(path: Path) -> None:
    """A reload or a test may open the same store again."""
    for _ in range(3):
        await open_store(path).close()


async def test_a_start_that_failed_gives_the_lock_back(path: Path) -> None:
    """Once the mistake is mended, the same process can start."""
    path.mkdir()
    with pytest.raises(Exception, match="is a directory"):
        open_store(path)
    path.rmdir()
    await open_store(path).close()


async def test_what_a_leftover_lock_file_says_does_not_matter(path: Path) -> None:
    """The file alone locks nothing."""
    Path(f"{path}.lock").write_text("1 on elsewhere\n" * 1000)
    store = open_store(path)
    assert Path(f"{path}.lock").read_text() == f"{os.getpid()} on {socket.gethostname()}\n"
    await store.close()


@pytest.mark.parametrize("removed", ["canary.db.lock", "canary.db*"])
async def test_a_daemon_whose_lock_was_removed_yields_to_the_one_that_took_it(
    store: Store, path: Path, removed: str
) -> None:
    """Two daemons never write to one store, whatever somebody has cleaned up under the first."""
    for file in path.parent.glob(removed):
        file.unlink()
    with another_daemon(path) as process:
        with pytest.raises(StoreFailing, match=rf"is in use by another streamcanary, process {process.pid} on "):
            await store.write(lambda _: None)
        assert store.is_writable() is False


async def test_a_lock_that_was_removed_is_taken_again(store: Store, path: Path) -> None:
    """If nobody else came in between, nothing is lost."""
    Path(f"{path}.lock").unlink()
    await store.write(lambda _: None)
    with pytest.raises(StoreLocked):
        open_store(path)
