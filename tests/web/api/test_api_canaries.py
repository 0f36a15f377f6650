"""The canaries in the JSON API: filters, pages, one of them, and its recorded runs."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import OutcomeKind
from support.api_server import ApiServer, serve_api
from support.store.builders import make_outcome

TOKEN = "0123456789abcdef"
STALLED = make_fault(FaultKind.STALLED, Phase.STREAM, "no token")
HOSTILE = '<b onx="1">\u202e"\'/../?&%00'


def canary(name: str, target: str = "openai", **changes: Any) -> Canary:
    """Build a canary."""
    return Canary(name=name, target=target, provider="openai", interval=30.0, **changes)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """Serve four canaries of two targets: ``bad`` fails, ``good`` answers, the others have not run."""
    canaries = [
        canary("good", model="gpt-4o", labels={"tier": "prod", "team": "a:b"}),
        canary("bad", labels={"tier": "prod"}),
        canary("idle", "azure", labels={"tier": "dev"}),
        canary("Zoo", "azure"),
    ]
    async with serve_api(tmp_path, *canaries) as api:
        api.observe(
            make_outcome(0, canary="good"),
            make_outcome(1, canary="bad", kind=OutcomeKind.FAILED, fault=STALLED),
        )
        yield api


async def names(server: ApiServer, query: str = "") -> list[str]:
    """Return the names of the listed canaries."""
    answer = await server.http.get(f"/api/v1/canaries{query}")
    assert 200 == answer.status_code, answer.text
    return [each["name"] for each in answer.json()["canaries"]]


async def problem(server: ApiServer, path: str, **options: Any) -> tuple[int, str]:
    """Return the status and the detail of an error response."""
    answer = await server.http.request(options.pop("method", "GET"), path, **options)
    assert "application/problem+json" == answer.headers["content-type"]
    document = answer.json()
    assert {"type", "title", "status", "detail", "instance"} == set(document)
    assert answer.status_code == document["status"]
    return answer.status_code, document["detail"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["Zoo", "bad", "good", "idle"]),
        ("?target=openai", ["bad", "good"]),
        ("?target=openai&target=azure", ["Zoo", "bad", "good", "idle"]),
        ("?label=tier:prod", ["bad", "good"]),
        ("?label=tier:prod&label=team:a:b", ["good"]),
        ("?label=tier:", []),
        ("?state=failing", ["bad"]),
        ("?state=failing&state=unknown", ["Zoo", "bad", "idle"]),
        ("?q=GPT", ["good"]),
        ("?q=zo", ["Zoo"]),
        ("?q=azure&label=tier:dev", ["idle"]),
        ("?target=nowhere", []),
    ],
)
async def test_canaries_are_filtered_and_listed_by_name(server: ApiServer, query: str, expected: list[str]) -> None:
    """A filter that is given several times accepts any of its values, labels accept canaries that have all."""
    assert expected == await names(server, query)


async def test_the_cursor_leads_through_all_pages(server: ApiServer) -> None:
    """The last page has none."""
    first = (await server.http.get("/api/v1/canaries?limit=3")).json()
    last = (await server.http.get("/api/v1/canaries", params={"limit": 3, "cursor": first["next"]})).json()
    assert (4, 4, None) == (first["total"], last["total"], last["next"])
    assert ["Zoo", "bad", "good", "idle"] == [each["name"] for each in first["canaries"] + last["canaries"]]


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("?color=red", "color: not a parameter; there are target, label, state, q, cursor, limit"),
        ("?limit=0", "limit: 0 is invalid: expected int >= 1"),
        ("?limit=1001", "limit: 1001 is invalid: expected int <= 1000"),
        ("?limit=1&limit=2", "limit: is given twice; give one value"),
        ("?state=broken", "state: broken is invalid: invalid enum value 'broken'"),
        ("?label=tier", "label: tier is invalid: expected str matching regex '^[^:]+:'"),
        ("?cursor=x", "cursor: is not valid here; take next of the page before, with the same other parameters"),
        ("?cursor=%00", "cursor: is not valid here; take next of the page before, with the same other parameters"),
        ("?q=" + "x" * 201, "q: " + "x" * 39 + "… is invalid: expected str of length <= 200"),
    ],
)
async def test_an_invalid_parameter_is_explained(server: ApiServer, query: str, detail: str) -> None:
    """Status 400 says which parameter is wrong, and what would be right."""
    assert (400, detail) == await problem(server, f"/api/v1/canaries{query}")


async def test_a_cursor_of_another_list_is_rejected(server: ApiServer) -> None:
    """Its position means nothing there."""
    cursor = (await server.http.get("/api/v1/canaries?limit=1")).json()["next"]
    status, detail = await problem(server, f"/api/v1/canaries/good/runs?cursor={cursor}")
    assert (400, True) == (status, detail.startswith("cursor: is not valid here"))


async def test_one_canary_is_returned(server: ApiServer) -> None:
    """With its faults and rules, as far as they are known."""
    shown = (await server.http.get("/api/v1/canaries/bad")).json()
    assert ("failing", "stalled", "no token") == tuple(shown["status"][key] for key in ("state", "fault", "message"))
    assert ([], []) == (shown["faults"], shown["rules"])


@pytest.mark.parametrize("path", ["/api/v1/canaries/none", "/api/v1/canaries/none/runs"])
async def test_an_unknown_canary_is_not_found(server: ApiServer, path: str) -> None:
    """The message says where the known ones are."""
    assert (404, "there is no canary none; GET /api/v1/canaries lists them") == await problem(server, path)


async def test_a_hostile_name_is_only_a_name(server: ApiServer) -> None:
    """It is printed without control characters, in a response that no browser renders."""
    status, detail = await problem(server, f"/api/v1/canaries/{HOSTILE.replace('/', '%2F').replace('?', '%3F')}")
    assert (404, True, False) == (status, detail.isprintable(), "\u202e" in detail)


async def test_recorded_runs_are_listed_in_pages(server: ApiServer) -> None:
    """The latest first, those of the canary only, and with these outcomes."""
    runs = [make_outcome(number, canary="good") for number in range(5)]
    failure = make_outcome(9, canary="good", kind=OutcomeKind.FAILED, fault=STALLED)
    await server.store.commit((), [*runs, make_outcome(7, canary="bad"), failure])
    first = (await server.http.get("/api/v1/canaries/good/runs?limit=4")).json()
    rest = (await server.http.get(f"/api/v1/canaries/good/runs?limit=4&cursor={first['next']}")).json()
    assert ["run-9", "run-4", "run-3", "run-2"] == [run["run_id"] for run in first["runs"]]
    assert (["run-1", "run-0"], None) == ([run["run_id"] for run in rest["runs"]], rest["next"])
    failed = (await server.http.get("/api/v1/canaries/good/runs?outcome=failed&outcome=slow")).json()
    assert ["stalled"] == [run["fault"]["kind"] for run in failed["runs"]]


async def test_a_recorded_run_is_found_by_its_id(server: ApiServer) -> None:
    """Also one under a former name, but not that of another canary."""
    runs = [make_outcome(1, canary="good"), make_outcome(2, canary="bad"), make_outcome(3, canary="former")]
    await server.store.commit((), runs)
    statuses = {}
    for path in ("good/runs/run-1", "good/runs/run-2", "good/runs/run-3", "good/runs/none", "none/runs/run-1"):
        answer = await server.http.get(f"/api/v1/canaries/{path}")
        statuses[path] = (answer.status_code, answer.json().get("run_id"))
    assert {
        "good/runs/run-1": (200, "run-1"),
        "good/runs/run-2": (404, None),
        "good/runs/run-3": (200, "run-3"),
        "good/runs/none": (404, None),
        "none/runs/run-1": (404, None),
    } == statuses


async def test_without_the_store_the_rest_is_answered(server: ApiServer) -> None:
    """Recorded runs are unavailable with a reason, canaries are as before."""
    await server.store.close()
    status, detail = await problem(server, "/api/v1/canaries/good/runs")
    assert (503, True) == (status, detail.startswith("the runs cannot be read: "))
    assert 200 == (await server.http.get("/api/v1/canaries/good")).status_code
    assert "openai: bad fails (stalled)" == (await server.http.get("/api/v1/status")).json()["summary"]["sentence"]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nothing", (404, "there is no such path; GET /api/openapi.json lists what there is")),
        ("PUT", "/api/v1/silences", (405, "/api/v1/silences does not accept PUT; use GET, HEAD, POST")),
    ],
)
async def test_other_paths_and_methods_are_problems_too(
    server: ApiServer, method: str, path: str, expected: tuple[int, str]
) -> None:
    """The message says what there is."""
    assert expected == await problem(server, path, method=method)


@pytest.mark.parametrize("path", ["/api/v1/canaries", "/api/v1/canaries/x", "/api/v1/events", "/api/openapi.json"])
async def test_every_endpoint_needs_the_token(tmp_path: Path, path: str) -> None:
    """Without it nothing is told, not even whether there is such a canary."""
    async with serve_api(tmp_path, token=TOKEN) as api:
        assert (401, "send the token: Authorization: Bearer ...") == await problem(api, path)
        wrong = {"Authorization": "Bearer fedcba9876543210"}
        assert 401 == (await problem(api, path, headers=wrong))[0]


async def test_runs_under_the_former_name_are_listed(tmp_path: Path) -> None:
    """The list of a renamed canary does not begin with the rename, in pages neither; those of others are not in it."""
    async with serve_api(tmp_path, canary("chat", renamed_from="old"), canary("other", renamed_from="chat")) as server:
        names = ("old", "old", "chat", "old", "chat", "third")  # the daemon of a rollback writes the former name again
        await server.store.commit((), [make_outcome(number, canary=name) for number, name in enumerate(names)])
        first = (await server.http.get("/api/v1/canaries/chat/runs?limit=3")).json()
        rest = (await server.http.get(f"/api/v1/canaries/chat/runs?limit=3&cursor={first['next']}")).json()
        other = (await server.http.get("/api/v1/canaries/other/runs")).json()
    assert ["run-4", "run-3", "run-2"] == [run["run_id"] for run in first["runs"]]
    assert (["run-1", "run-0"], None) == ([run["run_id"] for run in rest["runs"]], rest["next"])
    assert [] == other["runs"]
