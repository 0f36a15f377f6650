"""Runs alerting processes that end with ``kill -9``: one for each line of stdin, for the seconds in that line.

The arguments are the path of the store, the URL of the webhook, and the path of a file. Alerting gets a run of each
canary every 10 ms; the runs fail while the file contains ``bad``, and succeed otherwise. Each process is a fork of this
one, which has imported everything, so that its start is short; its exit code is printed. Its clock is 20 times as fast
as the real one, so that a delayed retry happens in one of the next two processes.
"""

import asyncio
import os
import signal
import sys
import time
import traceback
import uuid
from pathlib import Path

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.service.service import AlertingService
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import OutcomeKind
from streamcanary.store.config import StoreConfig
from streamcanary.store.opening import open_store
from support.alerting.builders import a_fault, a_run, alerts, webhook_config

CANARIES = tuple(Canary(name=name, target="sim", provider="simulator", interval=30.0) for name in ("chat", "search"))

_SPEED = 20.0
_RUN_INTERVAL = 0.01  # seconds
_MAX_LIFETIME = 30.0  # seconds, in case the test that kills the process has exited


class FastClock:
    """A clock that is ``_SPEED`` times as fast as the real one, and continues in the next process."""

    def time(self) -> float:
        """Return seconds since the epoch."""
        return time.time() * _SPEED

    def monotonic(self) -> float:
        """Return seconds of a monotonic clock."""
        return time.monotonic() * _SPEED


async def run_alerting(store: Path, config: AlertsConfig, health: Path) -> None:
    """Run alerting until killed."""
    clock = FastClock()
    alerting = AlertingService(
        config=config,
        instance="default",
        canaries=CANARIES,
        store=open_store(StoreConfig(path=store), clock),
        clock=clock,
    )

    async def enqueue_runs() -> None:
        while True:
            is_failing = health.read_text() == "bad"
            for canary in CANARIES:
                alerting.enqueue_outcome(
                    a_run(
                        kind=OutcomeKind.FAILED if is_failing else OutcomeKind.OK,
                        fault=a_fault() if is_failing else None,
                        run_id=uuid.uuid4().hex,
                        canary=canary.name,
                        scheduled=clock.time(),
                        started=clock.time(),
                    )
                )
            alerting.wake()  # it waits on the real clock
            await asyncio.sleep(_RUN_INTERVAL)

    async with asyncio.timeout(_MAX_LIFETIME), asyncio.TaskGroup() as tasks:
        tasks.create_task(alerting.run())
        tasks.create_task(enqueue_runs())


def main(store: Path, url: str, health: Path) -> None:
    """Run and kill processes until stdin ends."""
    detector = {"type": "consecutive", "failures": 4, "resolve_after": 4}
    config = alerts(
        rules={"Errors": {"detector": detector}},
        receivers={"hook": webhook_config(url, timeout="100ms", per_minute=6000)},
    )
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(run_alerting(store, config, health))
            except BaseException:  # noqa: BLE001 - printed to stderr, which the test shows
                traceback.print_exc()
            finally:
                os._exit(1)
        time.sleep(float(line))
        os.kill(child, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201 - the test reads stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
