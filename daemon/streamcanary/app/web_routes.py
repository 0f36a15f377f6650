"""Connects the routes of the HTTP server with the components whose data they serve."""

from typing import TYPE_CHECKING

from streamcanary.canary.scheduling.scheduler import Scheduler
from streamcanary.store.database import Store
from streamcanary.web.health import HealthCheck

if TYPE_CHECKING:
    from streamcanary.app.replication import Replication


def readiness_checks(
    scheduler: Scheduler, store: Store, replication: "Replication | None" = None
) -> dict[str, HealthCheck]:
    """Return the readiness checks. A failing provider does not make the daemon unready."""

    async def store_is_writable() -> str | None:
        return None if await store.probe() else f"{store.location} is not writable"

    checks: dict[str, HealthCheck] = {
        "config": lambda: None,  # the daemon does not start without a valid configuration
        "scheduler": lambda: None if scheduler.is_running else "the scheduler does not run",
        "store": store_is_writable,
    }
    if replication is not None:
        checks["leases"] = replication.readiness
    return checks
