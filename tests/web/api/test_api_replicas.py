"""``GET /api/v1/replicas``, over a real socket."""

from pathlib import Path

from streamcanary.model.canary import Canary
from support.api_server import serve_api
from support.status.replicas import ScenarioReplicas

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
