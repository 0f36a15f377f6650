import random
import subprocess
import sys
from pathlib import Path

import pytest

from streamcanary.store.tables import history
from support.store.builders import CHILD_ENVIRONMENT, corrupt_path, open_store

APPENDER = Path(__file__).with_name("program_store_appender.py")


def append_and_kill(path: Path, first: int, acknowledged: int) -> set[str]:
    """Append runs from number ``first`` on, kill the process, and return the acknowledged runs."""
    with subprocess.Popen(
        [sys.executable, str(APPENDER), str(path), str(first)],
        stdout=subprocess.PIPE,
        text=True,
        env=CHILD_ENVIRONMENT,
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(acknowledged)]
        process.kill()
        lines += process.stdout.readlines()
    assert process.returncode == -9
    return {f"run-{int(line)}" for line in lines if line.endswith("\n")}


@pytest.mark.parametrize("seed", range(4))
async def test_acknowledged_writes_survive_kill_9(path: Path, seed: int) -> None:
    """After a kill at any instant, no acknowledged run is missing, and alerting state and history are consistent."""
    dice = random.Random(seed)  # noqa: S311 - instants, not secrets
    acknowledged: set[str] = set()
    for life in range(4):
        acknowledged |= append_and_kill(path, life * 1_000_000, dice.randrange(1, 150))
    store = open_store(path)
    assert corrupt_path(store) is None
    assert await store.read(lambda connection: connection.execute("PRAGMA integrity_check").fetchall()) == [("ok",)]
    runs = await store.read(lambda connection: history.recent_runs(connection, limit=1_000_000))
    assert acknowledged - {run.run_id for run in runs} == set()
    newest_by_canary = {run.canary: run.run_id for run in reversed(runs)}
    detectors = (await store.load_rows())["detectors"]
    assert {canary: f"run-{value.decode()}" for canary, value in detectors.items()} == newest_by_canary
    await store.close()
