"""The page of replicas that share a database, and what other pages say of them."""

import json

import httpx2
import msgspec
import pytest

from streamcanary.model.replicas import SHARDS
from streamcanary.model.status.replicas import ReplicasStatus
from streamcanary.web.page.live_parts import LiveParts
from streamcanary.web.page.text_format import clock_seconds
from support.clock import ManualClock
from support.status import canaries
from support.status.page import make_sources
from support.status.replicas import ScenarioReplicas, make_row, make_status
from support.status.site import Document, served_page


async def answer_of(path: str, replicas: ScenarioReplicas | None) -> httpx2.Response:
    """Return the answer to a request for a page."""
    sources = msgspec.structs.replace(make_sources(canaries.outage()), replicas=replicas)
    async with served_page(sources) as http:
        return await http.get(path)


async def shown(path: str, status: ReplicasStatus | None = None, **owners: str) -> Document:
    """Return a page of a daemon with replicas."""
    answer = await answer_of(path, ScenarioReplicas(status, owners))
    assert 200 == answer.status_code
    return Document(answer.text)


async def test_the_page_says_who_owns_what() -> None:
    """Each replica has a row: since when it is there, what it runs, and who evaluates alerts."""
    page = await shown("/replicas")
    assert "3 replicas share all canaries." == page.text("h1")
    assert ["pod-a", "pod-b", "pod-c"] == page.all("tr", "data-replica")
    first, second = page.text("tr", data_replica="pod-a"), page.text("tr", data_replica="pod-b")
    assert first.startswith("active pod-a (this one) 10.0.0.1:9465 joined 1 h ago canaries 4 in 170 shards")
    assert "evaluates alerts" not in first
    assert "evaluates alerts" in second
    assert "generation 2 3f9a3f9a" in second


async def test_a_replica_that_stands_by_says_why() -> None:
    """With an older configuration a replica runs nothing; all of its pages say so."""
    reason = "generation 1 is older than 2 of pod-b"
    rows = (make_row(1, "pod-a", standby=reason, shards=0, canaries=0), make_row(2, "pod-b", owns_alerts=True))
    status = make_status(standby=reason, shards=0, replicas=rows)
    page, overview = await shown("/replicas", status), await shown("/", status)
    assert page.text("tr", data_replica="pod-a").startswith("on standby pod-a")
    assert reason in page.text("tr", data_replica="pod-a")
    assert f"This replica stands by: {reason}. Replicas" == overview.text("p", class_="message")


@pytest.mark.parametrize(
    ("changes", "notice"),
    [
        ({"session": None, "problem": "no connection"}, "This replica runs no canary: no connection."),
        ({"problem": "no connection"}, "This replica cannot renew its leases: no connection."),
        ({"runs_problem": "no connection"}, "Runs of other replicas are not shown: no connection."),
        ({"alerts_problem": "no connection"}, "Alerts are not known: no connection."),
        (
            {"alerts_problem": "no connection", "alerts_as_of": canaries.NOON},
            f"Alerts are those of {clock_seconds(canaries.NOON)} UTC: no connection.",
        ),
    ],
)
async def test_problems_with_the_database_are_on_each_page(changes: dict[str, object], notice: str) -> None:
    """The page of a replica without the database says that it may be old."""
    assert f"{notice} Replicas" == (await shown("/alerts", make_status(**changes))).text("p", class_="message")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"replicas": (make_row(1, "pod-a"),)}, "1 replica runs all canaries."),
        ({"alerts_owner": ""}, "3 replicas; nobody evaluates alerts."),
        ({"shards_without_owner": SHARDS // 4}, "3 replicas; the canaries of 25% of the shards have no replica."),
        ({"shards_without_owner": SHARDS}, "3 replicas; nobody runs the canaries."),
        ({"replicas": (), "session": None}, "No replica is known yet."),
        (
            {"session": None, "replicas_as_of": canaries.NOON},
            f"3 replicas, as of {clock_seconds(canaries.NOON)} UTC.",
        ),
    ],
)
async def test_the_sentence_says_what_has_no_owner(changes: dict[str, object], sentence: str) -> None:
    """What nobody runs is said first."""
    assert sentence == (await shown("/replicas", make_status(**changes))).text("h1")


async def test_a_canary_says_which_replica_runs_it() -> None:
    """The page of a canary names its replica."""
    page = await shown("/canaries/chat-mini", **{"chat-mini": "pod-c"})
    assert "run by pod-c" in page.text("section", id="sentence")


async def test_names_of_replicas_are_escaped() -> None:
    """A name comes from the environment of another machine."""
    status = make_status(replicas=(make_row(1, '<script>alert("x")</script>'),))
    answer = await answer_of("/replicas", ScenarioReplicas(status))
    assert "<script>alert" not in answer.text


async def test_without_a_shared_database_there_are_no_replicas() -> None:
    """A daemon with a file as its store has no such page, and no link to one."""
    missing, overview = await answer_of("/replicas", None), await answer_of("/", None)
    assert (404, False) == (missing.status_code, "/replicas" in overview.text)


async def test_a_page_of_replicas_follows_changes() -> None:
    """Live updates have another version when somebody owns something else."""
    replicas = ScenarioReplicas()
    sources = msgspec.structs.replace(make_sources(canaries.outage()), replicas=replicas)
    parts = LiveParts(sources, ManualClock(wall=canaries.NOON))
    first = json.loads(parts.render("replicas", "", frozenset()))
    same = json.loads(parts.render("replicas", "", frozenset()))
    replicas.shown = make_status(alerts_owner="pod-c")
    other = json.loads(parts.render("replicas", "", frozenset()))
    assert (True, False) == (first["version"] == same["version"], first["version"] == other["version"])
