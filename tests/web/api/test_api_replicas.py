"""``GET /api/v1/replicas``, over a real socket."""

from pathlib import Path

import pytest

from streamcanary.model.canary import Canary
from support.api_server import serve_api
from support.programs.daemon import run_command
from support.status.replicas import ScenarioReplicas, make_row, make_status
from support.store.builders import make_outcome

CHAT = Canary(name="chat", target="openai", provider="openai", interval=30.0, timeout=10.0)


async def test_replicas_are_listed_with_what_they_own(tmp_path: Path) -> None:
    """Each replica, the owner of the alerts, and which one answers; the same in the status."""
    async with serve_api(tmp_path, CHAT, replicas=ScenarioReplicas()) as server:
        replicas = (await server.http.get("/api/v1/replicas")).json()
        status = (await server.http.get("/api/v1/status")).json()
    assert ("pod-a", "pod-b", 0) == (replicas["name"], replicas["alerts_owner"], replicas["shards_without_owner"])
    assert [("pod-a", 170, 4), ("pod-b", 170, 4), ("pod-c", 170, 4)] == [
        (row["name"], row["shards"], row["canaries"]) for row in replicas["replicas"]
    ]
    assert replicas == status["replicas"]


async def test_without_a_shared_database_there_are_none(tmp_path: Path) -> None:
    """A daemon with a file as its store says what would be needed."""
    async with serve_api(tmp_path, CHAT) as server:
        response = await server.http.get("/api/v1/replicas")
        status = (await server.http.get("/api/v1/status")).json()
    assert (404, None) == (response.status_code, status["replicas"])
    assert "this daemon shares its store with no replicas; see store.url" == response.json()["detail"]


OF_POD_B = ScenarioReplicas(
    make_status(replicas=(make_row(1, "pod-a"), make_row(2, "pod-b", address="10.0.0.2:9465"))), {"chat": "pod-b"}
)


async def test_the_list_of_kept_runs_names_the_replica_that_runs_the_canary(tmp_path: Path) -> None:
    """It keeps the runs that it makes; the replica that answers is not named, nor that of no or an unknown canary."""
    async with serve_api(tmp_path, CHAT, replicas=OF_POD_B) as server:
        pages = [(await server.http.get(f"/api/v1/runs{query}")).json() for query in ("?canary=chat", "?canary=x", "")]
    async with serve_api(tmp_path, CHAT, replicas=ScenarioReplicas(owners={"chat": "pod-a"})) as server:
        pages.append((await server.http.get("/api/v1/runs?canary=chat")).json())
    assert ["pod-b (10.0.0.2:9465)", "", "", ""] == [page["kept_by"] for page in pages]


@pytest.mark.parametrize(
    ("owners", "words"),
    [
        ({"chat": "pod-b"}, "; the replica pod-b (10.0.0.2:9465) runs chat and may keep it; "),
        ({"chat": "pod-a"}, "; the replica that made it does not run chat any more; "),
        ({}, "; the replica that made it does not run chat any more; "),
    ],
)
async def test_a_run_that_another_replica_made_is_explained(tmp_path: Path, owners: dict[str, str], words: str) -> None:
    """The message names the replica that runs the canary, and where the recorded run is."""
    run = make_outcome(1)
    replicas = ScenarioReplicas(OF_POD_B.shown, owners)
    async with serve_api(tmp_path, CHAT, replicas=replicas) as server:
        await server.store.commit([], [run])
        response = await server.http.get(f"/api/v1/runs/{run.run_id}")
        unknown = await server.http.get("/api/v1/runs/nothing")
    assert 404 == response.status_code
    assert response.json()["detail"].endswith(f"{words}GET /api/v1/canaries/chat/runs/{run.run_id} has its attempts")
    assert unknown.json()["detail"].endswith("; each replica keeps the runs that it made: see GET /api/v1/replicas")


async def test_trace_says_which_replica_to_ask(tmp_path: Path) -> None:
    """``streamcanary trace`` of a canary that another replica runs names that replica and its address."""
    async with serve_api(tmp_path, CHAT, replicas=OF_POD_B) as server:
        by_canary = await run_command("trace", "chat", "--url", server.url)
        by_id = await run_command("trace", "0" * 32, "--url", server.url)
    assert (1, 1) == (by_canary.code, by_id.code)
    assert (
        "streamcanary: no failed run of chat is kept at this replica; the replica pod-b (10.0.0.2:9465) runs it: ask "
        "it with --url\n"
    ) == by_canary.stderr
    assert by_id.stderr.endswith("each replica keeps the runs that it made: see GET /api/v1/replicas\n")
