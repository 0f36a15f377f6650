"""The page of replicas in a real browser."""

import pytest

from streamcanary.model.status.replicas import ReplicasStatus
from support.browser.accessibility import grave_violations, overflowing
from support.browser.addresses import Serve
from support.browser.page_watch import DESKTOP, PHONE, SCHEMES, PageWatch, at_noon
from support.status.replicas import ScenarioReplicas, make_row, make_status

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.real("chromium")]

_REASON = "its configuration has generation 1, and that of replica 'streamcanary-7d9f4b-xk2lp' has 2; load that one"
STANDBY = make_status(
    standby=_REASON,
    shards_without_owner=40,
    replicas=(
        make_row(1, "pod-a", address="10.0.0.1:9465", standby=_REASON, shards=0, canaries=0, generation=1),
        make_row(2, "streamcanary-7d9f4b-xk2lp", address="10.0.0.2:9465", owns_alerts=True),
        make_row(3, "streamcanary-7d9f4b-q8wzn", address="10.0.0.3:9465", draining=True),
    ),
    alerts_owner="streamcanary-7d9f4b-xk2lp",
)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("status", [make_status(), STANDBY], ids=["well", "standby"])
async def test_everybody_can_read_who_owns_what(
    status: ReplicasStatus, scheme: str, serve: Serve, watch: PageWatch
) -> None:
    """The page is accessible and fits, on desktop and phone, in both colour schemes."""
    address = await serve(replicas=ScenarioReplicas(status, {"chat-mini": "pod-a"}))
    for size in (DESKTOP, PHONE, (320, 640)):
        for path in ("/replicas", "/canaries/chat-mini"):
            page = await watch.open(address + path, **at_noon(size=size, scheme=scheme))
            assert [] == await grave_violations(page)
            assert [] == await overflowing(page)


async def test_replicas_are_listed_without_javascript(serve: Serve, watch: PageWatch) -> None:
    """Each replica has a row, and the link to the page is among the others."""
    address = await serve(replicas=ScenarioReplicas())
    page = await watch.open(address, javascript=False)
    await page.get_by_role("navigation").get_by_role("link", name="Replicas").click()
    assert 4 == await page.get_by_role("row").count()  # with the head
