"""Connects the routes of the HTTP server with the components whose data they serve."""

from streamcanary.canary.scheduler import Scheduler
from streamcanary.store.database import Store
from streamcanary.web.health import HealthCheck


def readiness_checks(scheduler: Scheduler, store: Store) -> dict[str, HealthCheck]:
    """Return the readiness checks. A failing provider does not make the daemon unready."""

    async def store_is_writable() -> str | None:
        return None if await store.probe() else f"{store.location} is not writable"

    return {
        "config": lambda: None,  # the daemon does not start without a valid configuration
        "scheduler": lambda: None if scheduler.is_running else "the scheduler does not run",
        "store": store_is_writable,
    }
