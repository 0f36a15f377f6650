"""The API of the history of alerts, receivers, maintenance windows, rules, and previews of silences."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.canary import Canary
from streamcanary.model.status.alert_history import PastIncident, TimelineEvent, past_incident_id
from support.api_server import ApiServer, serve_api
from support.store.builders import NOON

CHAT = Canary(name="chat", target="openai", provider="openai", interval=30.0, labels={"tier": "prod"})
HISTORY = "/api/v1/incidents/history"


def an_incident(number: int, canary: str = "chat") -> PastIncident:
    """Build an incident that fired ``number`` hours after noon."""
    opened = NOON + 3600 * number
    return PastIncident(
        id=past_incident_id("k", opened),
        key="k",
        rule="Errors",
        subject=canary,
        opened=opened,
        since=opened - 60,
        resolved=opened + 600,
        canaries=(canary,),
        timeline=(TimelineEvent(kind="notified", at=opened + 1, receiver="oncall"),),
    )


async def save(server: ApiServer, *incidents: PastIncident) -> None:
    """Save incidents in the store."""
    await server.store.commit([RowChange("alert_history", one.id, msgspec.json.encode(one)) for one in incidents], [])


async def get(server: ApiServer, path: str, **query: Any) -> Any:
    """Return the document at ``path``."""
    response = await server.http.get(path, params=query)
    assert 200 == response.status_code, response.text
    return response.json()


async def test_the_history_is_paged_by_cursor_the_newest_first(tmp_path: Path) -> None:
    """Each page continues where the one before ended; the last one has no cursor."""
    async with serve_api(tmp_path, CHAT) as server:
        await save(server, *(an_incident(number) for number in range(5)))
        pages, cursor = [], ""
        while cursor is not None:
            query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
            page = await get(server, HISTORY, **query)
            pages.append([round((one["opened"] - NOON) / 3600) for one in page["incidents"]])
            cursor = page["next"]
    assert [[4, 3], [2, 1], [0]] == pages


async def test_the_history_of_a_canary_and_one_incident(tmp_path: Path) -> None:
    """Those of another canary are left out; an incident has its timeline."""
    async with serve_api(tmp_path, CHAT) as server:
        await save(server, an_incident(1), an_incident(2, "search"))
        page = await get(server, HISTORY, canary="search")
        one = await get(server, f"{HISTORY}/{an_incident(1).id}")
    assert ["search"] == [incident["subject"] for incident in page["incidents"]]
    assert [{"kind": "notified", "at": NOON + 3601, "receiver": "oncall"}] == one["timeline"]


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        (f"{HISTORY}?cursor=x", 400, "cursor: is not valid here"),
        (f"{HISTORY}?limit=0", 400, "limit: 0 is invalid"),
        (f"{HISTORY}?canary={'x' * 300}", 400, "canary:"),
        (f"{HISTORY}/unknown", 404, "there is no incident unknown"),
        (f"{HISTORY}/%00%1b", 404, "there is no incident"),
    ],
)
async def test_bad_requests_are_problems(tmp_path: Path, path: str, status: int, detail: str) -> None:
    """An error is a problem document that says what would be right."""
    async with serve_api(tmp_path, CHAT) as server:
        response = await server.http.get(path)
    assert (status, "application/problem+json") == (response.status_code, response.headers["content-type"])
    assert response.json()["detail"].startswith(detail)


async def test_rules_receivers_and_maintenance_are_listed(tmp_path: Path) -> None:
    """Each as its own document; times are seconds since the epoch."""
    async with serve_api(tmp_path, CHAT) as server:
        rules = (await get(server, "/api/v1/canaries/chat/rules"))["rules"]
        receivers = (await get(server, "/api/v1/receivers"))["receivers"]
        maintenance = (await get(server, "/api/v1/maintenance"))["maintenance"]
    errors = next(rule for rule in rules if rule["rule"] == "Errors")
    assert ("0 of 3 in a row", 0.0, "3 good runs in a row") == (
        errors["text"],
        errors["progress"],
        errors["resolve_condition"],
    )
    assert errors["forecast"].startswith("detects bad runs: 20% in ")
    assert [{"name": "prom", "type": "alertmanager", "state": "unused"}] == receivers
    assert [3600.0] * 7 == [window["ends"] - window["starts"] for window in maintenance]


async def test_a_preview_creates_nothing(tmp_path: Path) -> None:
    """The body is that of a silence; what it would match is returned."""
    body = {"match": ['tier="prod"'], "for": "2h"}
    async with serve_api(tmp_path, CHAT) as server:
        response = await server.http.post("/api/v1/silences/preview", json=body)
        silences = (await get(server, "/api/v1/silences"))["silences"]
        invalid = await server.http.post("/api/v1/silences/preview", json={"match": ["tier="], "for": "-1h"})
    assert {"canaries": ["chat"], "canary_count": 1, "alerts": [], "alert_count": 0} == response.json()
    assert ([], 400) == (silences, invalid.status_code)
