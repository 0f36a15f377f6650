"""Lives of alerting that end in ``kill -9``: for each line of stdin, seconds, one life that is as long as that.

Alerting has the store at ``argv[1]`` and the webhook at ``argv[2]``, and sees a run of each canary every 10 ms, which
goes as the file ``argv[3]`` says: ``bad`` or well. A life is a fork of this process, which has imported everything, so
that little of it is spent on the start; how it ended is printed as an exit code. By its clock 20 seconds pass in one,
so that what is tried again later is tried in the next life or two.
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
from streamcanary.store.database import Store
from support.alerting.builders import a_fault, a_run, alerts, webhook_config

CANARIES = tuple(Canary(name=name, target="sim", provider="simulator", interval=30.0) for name in ("chat", "search"))

_PACE = 20.0
_RUN_EVERY = 0.01  # seconds
_LONGEST = 30.0  # seconds; the test that kills a process may have ended


class Hurried:
    """A clock that goes faster than others, and goes on from life to life."""

    def time(self) -> float:
        """Return seconds since the epoch."""
        return time.time() * _PACE

    def monotonic(self) -> float:
        """Return seconds that only go forward."""
        return time.monotonic() * _PACE


async def live(store: Path, config: AlertsConfig, health: Path) -> None:
    """Run alerting until killed."""
    clock = Hurried()
    alerting = AlertingService(
        config=config,
        instance="default",
        canaries=CANARIES,
        store=Store.open(StoreConfig(path=store), clock),
        clock=clock,
    )

    async def see() -> None:
        while True:
            ill = health.read_text() == "bad"
            for canary in CANARIES:
                alerting.enqueue_outcome(
                    a_run(
                        kind=OutcomeKind.FAILED if ill else OutcomeKind.OK,
                        fault=a_fault() if ill else None,
                        run_id=uuid.uuid4().hex,
                        canary=canary.name,
                        scheduled=clock.time(),
                        started=clock.time(),
                    )
                )
            alerting.wake()  # its pauses are those of the real clock
            await asyncio.sleep(_RUN_EVERY)

    async with asyncio.timeout(_LONGEST), asyncio.TaskGroup() as tasks:
        tasks.create_task(alerting.run())
        tasks.create_task(see())


def main(store: Path, url: str, health: Path) -> None:
    """Live and die until stdin ends."""
    detector = {"type": "consecutive", "failures": 4, "resolve_after": 4}
    config = alerts(
        rules={"Errors": {"detector": detector}},
        receivers={"hook": webhook_config(url, timeout="100ms", per_minute=6000)},
    )
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(live(store, config, health))
            except BaseException:  # noqa: BLE001 - it goes to stderr, which the test shows
                traceback.print_exc()
            finally:
                os._exit(1)
        time.sleep(float(line))
        os.kill(child, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201 - how it tells the test


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
